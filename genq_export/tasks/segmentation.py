"""Segmentation: a number for each class at every position."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genq_export.data.truth import UNJUDGED, Truth
from genq_export.network.outputs import Answer
from genq_export.tasks.losses import kl_divergence
from genq_export.tasks.shown import Shown, ShownMask
from genq_export.tasks.task import Arrays, Comparison, Figure, Metric, Shapes, Task, only, only_tensor

if TYPE_CHECKING:
    from genq_export.data.classifier import Classes, Classifier
    from genq_export.data.evaluation import EvaluationSet
    from genq_export.data.raw import Reading

# Of the masks' mean IoU. [ours] Below what the networks of docs/tasks.md reach by more than their images vary.
_LEAST = {2: 0.2, 3: 0.4, 4: 0.6, 5: 0.7, 6: 0.8, 7: 0.85, 8: 0.9}
# Points of mean IoU against labels. [ours]
_MOST_LOST = {2: 25.0, 3: 10.0, 4: 4.0, 5: 2.5, 6: 1.5, 7: 1.0, 8: 0.6}


class Segmentation(Task):
    """One output of logits [B, classes, H, W]."""

    name = "segmentation"
    title = "segmentation"
    expected = "it needs one output [images, classes, height, width] of at least two classes"
    cost_measure = "nats of KL a position"
    gives_logits = True

    def classes(self, shapes: Shapes) -> int:
        """The channels."""
        return only(shapes)[0]

    def fits(self, shapes: Shapes) -> bool:
        """One map of at least two channels."""
        return len(shapes) == 1 and len(only(shapes)) == 3 and only(shapes)[0] > 1

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """KL to the float network's classes, mean over positions, in nats."""
        return kl_divergence(only_tensor(student), only_tensor(teacher))

    def logits(self, answer: Answer) -> Tensor:
        """All of it."""
        return only_tensor(answer)

    def comparison(self) -> Comparison:
        """The two masks."""
        return MaskOverlap()

    def shown(self, outputs: Arrays) -> list[Shown]:
        """The masks."""
        return [ShownMask(classes) for classes in only(outputs).argmax(1)]

    def least(self, bits: int) -> Mapping[str, float]:
        """Of the mean IoU."""
        return {"mask_iou": _LEAST[bits]}

    def most_lost(self, bits: int) -> float:
        """Of the mean IoU against labels."""
        return _MOST_LOST[bits]

    def metric(self) -> Metric:
        """Mean IoU against labelled masks."""
        return LabelledMasks()

    def read_evaluation_set(self, source: Path, network: "Classifier", reading: "Reading") -> "EvaluationSet":
        """With masks beside the images, or without labels."""
        from genq_export.data.masks import has_masks, read_masks

        if not has_masks(source):
            return super().read_evaluation_set(source, network, reading)
        return read_masks(source, network, reading)

    def check_evaluation_set(self, source: Path, network: "Classes | None", reading: "Reading") -> None:
        """Masks, where there are any."""
        from genq_export.data.masks import check_masks, has_masks

        super().check_evaluation_set(source, network, reading)
        if has_masks(source):
            check_masks(source)


SEGMENTATION = Segmentation()


class Confusion:
    """Positions by the class that one mask gives them and the class that the other does, int64 [classes, classes]."""

    def __init__(self) -> None:
        self._pairs: NDArray[np.int64] | None = None

    def add(self, classes: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Count positions, both of any one shape."""
        pairs = np.bincount((first * classes + second).ravel(), minlength=classes * classes).reshape(classes, classes)
        self._pairs = pairs if self._pairs is None else self._pairs + pairs

    @property
    def pairs(self) -> NDArray[np.int64] | None:
        """The counts; None where nothing was counted."""
        return self._pairs

    def mean_iou(self) -> float | None:
        """IoU, mean over the classes that either has; None where nothing was counted."""
        if self._pairs is None or not self._pairs.any():
            return None
        both = np.diag(self._pairs)
        either = self._pairs.sum(0) + self._pairs.sum(1) - both
        return float((both[either > 0] / either[either > 0]).mean())

    def same(self) -> float:
        """Share of positions to which both give one class."""
        return 0.0 if self._pairs is None else float(np.trace(self._pairs) / self._pairs.sum())


class MaskOverlap(Comparison):
    """Float's mask against the other's."""

    def __init__(self) -> None:
        self._confusion = Confusion()

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch of logits [B, classes, H, W]."""
        right, got = only(reference), only(found)
        self._confusion.add(right.shape[1], right.argmax(1), got.argmax(1))

    def figures(self) -> tuple[Figure, ...]:
        """Mean IoU first."""
        share = self._confusion.mean_iou()
        if share is None:
            return ()
        return (
            Figure("mask_iou", "Mean IoU of the masks with float's", share),
            Figure("same_position", "Positions of float's class", self._confusion.same()),
        )


class LabelledMasks(Metric):
    """The network's mask against a labelled one, of another size or not; pixels of which nothing is said are left out.

    A mask of fewer positions than the labels' is read as it is: each pixel takes the class of the position it lies in.
    """

    def __init__(self) -> None:
        self._confusion = Confusion()

    @property
    def confusion(self) -> Confusion:
        """Labelled classes against those that were found."""
        return self._confusion

    def add(self, found: Arrays, truths: Sequence[Truth]) -> None:
        """Count one batch of logits [B, classes, H, W]."""
        logits = only(found)
        for mask, truth in zip(logits.argmax(1), truths, strict=True):
            assert isinstance(truth, np.ndarray)
            judged = truth != UNJUDGED
            self._confusion.add(logits.shape[1], truth[judged].astype(np.int64), _scaled(mask, truth.shape)[judged])

    def figures(self) -> tuple[Figure, ...]:
        """Mean IoU first; none where nothing was labelled."""
        share = self._confusion.mean_iou()
        if share is None:
            return ()
        return (
            Figure("miou", "mIoU against labels", share),
            Figure("right_position", "Pixels of the labelled class", self._confusion.same()),
        )


def _scaled(mask: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.int64]:
    """A mask in another size, by the nearest position."""
    rows, columns = (np.arange(after) * before // after for before, after in zip(mask.shape, size, strict=True))
    return mask[np.ix_(rows, columns)]
