"""How right the answers of float, reference and deployed file are by labelled boxes or masks, and what was lost.

Networks that name one class of an image are judged by top-1 instead (`accuracy`).
"""

from collections.abc import Sequence
from dataclasses import asdict

from genq_export.config.quantize import QuantizeConfig
from genq_export.config.verify import GatesConfig
from genq_export.data.truth import Truth
from genq_export.runtimes.base import Outputs
from genq_export.tasks.task import Metric, Task, task_of
from runtime_tests.verify.gate import Gate, Ungated, gate
from runtime_tests.verify.results import FLOAT, REFERENCE, AnswerFigure, Verification

NAME = "accuracy_loss"


class LabelCount:
    """What every backend gets right on the images of one set, batch by batch.

    Args:
        task: its metric.
        images: name of the set.
        truths: of its images, in order.
    """

    def __init__(self, task: Task, images: str, truths: Sequence[Truth]) -> None:
        self.images = images
        self._task, self._truths = task, truths
        self._metrics: dict[str, Metric] = {}
        self._seen: dict[str, int] = {}

    def add(self, backend: str, outputs: Outputs) -> None:
        """Count the next batch of a backend."""
        if backend not in self._metrics:
            metric = self._task.metric()
            if metric is None:
                return
            self._metrics[backend] = metric
        start = self._seen.get(backend, 0)
        count = len(next(iter(outputs.values())))
        self._metrics[backend].add(outputs, self._truths[start : start + count])
        self._seen[backend] = start + count

    def figures(self) -> tuple[AnswerFigure, ...]:
        """Of the backends that came through all images."""
        n = len(self._truths)
        whole = {name: metric for name, metric in self._metrics.items() if self._seen[name] == n}
        return tuple(
            AnswerFigure(backend=name, images=self.images, n=n, **asdict(figure))
            for name, metric in whole.items()
            for figure in metric.figures()
        )


def labelled(run: Verification, backend: str) -> AnswerFigure | None:
    """The figure that matters most of a backend; None where nothing was labelled."""
    return next((item for item in run.against_labels if item.backend == backend), None)


def points_lost(run: Verification) -> float | None:
    """Points of that figure that the deployed file loses against float; None without labels or without either."""
    before, after = labelled(run, FLOAT), labelled(run, run.deployed)
    return None if before is None or after is None else 100 * (before.value - after.value)


def labels_gate(run: Verification, config: GatesConfig, grids: QuantizeConfig) -> Gate | Ungated:
    """Judge what was lost against labels by the bits, or by the setting."""
    task = task_of(run.task)
    usual = task.most_lost(min(grids.weight_bits, grids.activation_bits))
    if usual is None:
        return Ungated(name=NAME, reason=f"the network gives no class of an image: its task is {task.title}")
    if run.evaluation is None or not run.evaluation.labelled:
        return Ungated(name=NAME, reason="no labelled images: give some with --eval (docs/your-data.md)")
    before = labelled(run, FLOAT)
    if before is None:
        why = "; ".join(task.problems()) or "nothing in the images is labelled, or float could not be run"
        return Ungated(name=NAME, reason=f"answers were not held against the labels: {why}")
    limit = usual if config.max_accuracy_loss is None else config.max_accuracy_loss
    loss, what = points_lost(run), before.title.partition(" ")[0]
    if loss is None:
        message = f"the {what} of {run.deployed} could not be measured"
    else:
        message = f"{what} fell by {loss:.2f} points, {limit:.2f} are allowed at {grids.grid_name}{_step(run, loss)}"
    return gate(NAME, f"Accuracy loss, points of {what}", loss, limit, False, message)


def _step(run: Verification, loss: float) -> str:
    """Did quantizing or deploying lose it?"""
    before, reference = labelled(run, FLOAT), labelled(run, REFERENCE)
    if before is None or reference is None or run.deployed == REFERENCE:
        return ""
    by_quantizing = 100 * (before.value - reference.value)
    if loss - by_quantizing > by_quantizing:
        return f": {loss - by_quantizing:.2f} of them between the reference and the file"
    return f": the reference already loses {by_quantizing:.2f}"
