"""The runtime's graph optimisations: hold the run without them against the oracle."""

from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding

# Optimisations are to blame where at most this share of the differences is left without them.
_LEFT = 0.01


def graph_optimisations(case: Case) -> Finding:
    """Do the differences go when ONNX Runtime computes the same file without its optimisations?"""
    if case.unfused is None or case.fidelity.backend == case.unfused.backend:
        return NOTHING
    differing = case.unfused.differing
    if case.fidelity.backend != "onnxruntime":
        return Finding(
            evidence=(f"ONNX Runtime without optimisations differs in {differing:,} codes of the same file",)
        )
    evidence = (f"with the runtime's optimisations off {differing:,} codes differ",)
    if differing > _LEFT * case.fidelity.differing:
        return Finding(evidence=evidence)
    left = f"only {differing:,} differ" if differing else "every code is right"
    return Finding(f"the runtime's graph optimisations change the result: without them {left}", evidence)
