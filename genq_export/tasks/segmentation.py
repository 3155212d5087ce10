"""Segmentation: a number for each class at every position."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.losses import kl_divergence
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task, only, only_tensor

# Of the masks' mean IoU. [ours] Below what the networks of docs/tasks.md reach by more than their images vary.
_LEAST = {2: 0.2, 3: 0.4, 4: 0.6, 5: 0.7, 6: 0.8, 7: 0.85, 8: 0.9}


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

    def least(self, bits: int) -> Mapping[str, float]:
        """Of the mean IoU."""
        return {"mask_iou": _LEAST[bits]}


SEGMENTATION = Segmentation()


class MaskOverlap(Comparison):
    """Float's mask against the other's: IoU, mean over the classes that either has, and positions of one class."""

    def __init__(self) -> None:
        self._pairs: NDArray[np.int64] | None = None  # [classes, classes]: positions by float's class and the other's

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch of logits [B, classes, H, W]."""
        right, got = only(reference), only(found)
        classes = right.shape[1]
        cells = right.argmax(1).ravel() * classes + got.argmax(1).ravel()
        pairs = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
        self._pairs = pairs if self._pairs is None else self._pairs + pairs

    def figures(self) -> tuple[Figure, ...]:
        """Mean IoU first."""
        if self._pairs is None:
            return ()
        both = np.diag(self._pairs)
        either = self._pairs.sum(0) + self._pairs.sum(1) - both
        share = float((both[either > 0] / either[either > 0]).mean())
        return (
            Figure("mask_iou", "Mean IoU of the masks with float's", share),
            Figure("same_position", "Positions of float's class", float(both.sum() / self._pairs.sum())),
        )
