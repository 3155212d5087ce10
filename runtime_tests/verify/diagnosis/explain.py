"""Why do codes differ? Each suspicion is tested by an experiment, and only what an experiment confirms is said."""

from genq_export.network.onnx_graph import layer_names
from runtime_tests.verify.diagnosis.case import Case, Experiment
from runtime_tests.verify.diagnosis.code_range import clamped_codes
from runtime_tests.verify.diagnosis.file_constants import wrong_constants
from runtime_tests.verify.diagnosis.network_input import another_input
from runtime_tests.verify.diagnosis.optimisations import graph_optimisations
from runtime_tests.verify.diagnosis.pair_sums import saturating_sums
from runtime_tests.verify.diagnosis.rounding import at_the_border, ties_by_reciprocal
from runtime_tests.verify.results import BackendFidelity

# In this order: the first that confirms its suspicion explains the difference.
EXPERIMENTS: tuple[Experiment, ...] = (
    wrong_constants,
    ties_by_reciprocal,
    another_input,
    saturating_sums,
    graph_optimisations,
    clamped_codes,
    at_the_border,
)


def explain(case: Case) -> BackendFidelity:
    """The same result with `explanation` (one sentence without a full stop, or None) and the `evidence` for it."""
    fidelity = case.fidelity
    if fidelity.differing == 0 and not fidelity.missing:
        return fidelity
    explanation, evidence = _missing(fidelity) if fidelity.missing else _by_experiment(case)
    return fidelity.model_copy(update={"explanation": explanation, "evidence": evidence})


def _missing(fidelity: BackendFidelity) -> tuple[str, tuple[str, ...]]:
    names = layer_names(fidelity.missing)
    return f"the file has no quantizer {names}", (f"the oracle quantizes {names}, the file has no such codes",)


def _by_experiment(case: Case) -> tuple[str | None, tuple[str, ...]]:
    evidence: tuple[str, ...] = ()
    for experiment in EXPERIMENTS:
        finding = experiment(case)
        evidence += finding.evidence
        if finding.explanation is not None:
            return finding.explanation, evidence
    return None, (*evidence, "none of these experiments explains the difference")
