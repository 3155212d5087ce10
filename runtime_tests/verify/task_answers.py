"""What the task of a network says of its deployed file, and the condition that follows from it."""

from genq_export.config.quantize import QuantizeConfig
from genq_export.tasks.task import task_of
from runtime_tests.verify.gate import Gate, Ungated, gate
from runtime_tests.verify.results import AnswerFigure, Verification

_BEST_IMAGES = ("evaluation", "calibration", "held-out")  # the first of these that there are
_RANDOM = "random"  # numbers that are no images say nothing of either network


def deployed_answers(run: Verification) -> tuple[AnswerFigure, ...]:
    """The task's figures of the deployed file, on the user's images where there are any, else on those there are.

    None where the network tells images apart by class: its figures are accuracy and agreement.
    """
    if task_of(run.task).has_logits:
        return ()
    own = [item for item in run.answers if item.backend == run.deployed]
    order = [*dict.fromkeys((*_BEST_IMAGES, *(item.images for item in own)))]
    chosen = next((name for name in order if any(item.images == name for item in own)), None)
    return tuple(item for item in own if item.images == chosen and chosen != _RANDOM)


def answers_gate(run: Verification, grids: QuantizeConfig) -> Gate | Ungated:
    """Judge figures of the task that have a least value by bits; there is no setting."""
    name, title = "answers", "Figures of the task below their least"
    least = task_of(run.task).least(min(grids.weight_bits, grids.activation_bits))
    found = [item for item in deployed_answers(run) if item.name in least]
    if not found:
        return Ungated(name=name, reason=f"{task_of(run.task).title} has no figure with a least value here")
    below = [item for item in found if item.value < least[item.name]]
    message = "; ".join(
        f"{item.title}: {shown_figure(item)} on {item.n} {item.images} images,"
        f" {shown_figure(item.model_copy(update={'value': least[item.name]}))} are needed at {grids.grid_name}"
        for item in below
    )
    return gate(name, title, float(len(below)), 0.0, False, message or "all figures of the task reach theirs")


def shown_figure(item: AnswerFigure) -> str:
    """`97.31 %`, `31.2 dB`, `0.9987`"""
    if item.unit == "%":
        return f"{100 * item.value:.2f} %"
    return f"{item.value:.1f} {item.unit}" if item.unit else f"{item.value:.4f}"
