"""Why do quantizers differ by themselves? Each suspicion is tested; what no experiment confirms is unexplained."""

from collections.abc import Sequence
from dataclasses import dataclass

from genq_export.core.errors import BackendError
from runtime_tests.qdq_file.experiments.bias import integer_bias
from runtime_tests.qdq_file.experiments.border import at_the_border
from runtime_tests.qdq_file.experiments.kernel import fused_kernel
from runtime_tests.qdq_file.experiments.saturation import saturating_sums
from runtime_tests.qdq_file.experiments.scene import Experiment, Scene
from runtime_tests.qdq_file.graph import Quantizer

# In this order: the first that confirms its suspicion explains a quantizer.
EXPERIMENTS: tuple[Experiment, ...] = (integer_bias, at_the_border, saturating_sums, fused_kernel)


@dataclass(frozen=True)
class Explained:
    """explanation: one sentence without a full stop, or None; evidence: what the experiments saw, a line each."""

    explanation: str | None = None
    evidence: tuple[str, ...] = ()


def explain(scene: Scene, suspects: Sequence[Quantizer]) -> dict[str, Explained]:
    """By code tensor."""
    results = {item.tensor: Explained() for item in suspects}
    for experiment in EXPERIMENTS:
        open_ones = [item for item in suspects if results[item.tensor].explanation is None]
        if not open_ones:
            break
        try:
            findings = experiment(scene, open_ones)
        except BackendError as error:
            failed = f"an experiment failed: {error}"
            results |= {item.tensor: _added(results[item.tensor], None, failed) for item in open_ones}
            continue
        for tensor, finding in findings.items():
            results[tensor] = _added(results[tensor], finding.explanation, finding.evidence)
    return results


def _added(before: Explained, explanation: str | None, evidence: str | None) -> Explained:
    return Explained(explanation, (*before.evidence, *filter(None, [evidence])))
