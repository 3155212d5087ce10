"""Detection: boxes and a score for each class of each, in front of the suppression of those that overlap."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task
from genq_export.tasks.tensors import WorstOutput, mean_relative_error

TRUE_SCORE = 0.3  # of float's detections that count as the truth
_LEAST_SCORE = 0.05
_MOST = 100  # boxes of an image, as COCO's mAP has it
_OVERLAP = 0.5  # IoU beyond which the lesser of two boxes of a class is suppressed
_SIDES = 4
_FEWEST_BOXES = 10  # fewer are numbers, not boxes
_LIBRARIES = ("torchmetrics", "pycocotools")
# Of mAP against float's detections. [ours]
_LEAST = {2: 0.0, 3: 0.1, 4: 0.3, 5: 0.5, 6: 0.65, 7: 0.75, 8: 0.8}


@dataclass(frozen=True)
class Layout:
    """Where boxes and scores are: names of the outputs, and whether the boxes' axis comes last.

    together: one output holds both, four numbers of the box first.
    """

    boxes: str
    scores: str
    boxes_last: bool
    scores_last: bool
    together: bool = False


class Detection(Task):
    """Two outputs [B, boxes, 4] and [B, boxes, classes], either turned, or one [B, 4 + classes, boxes]."""

    name = "detection"
    title = "detection"
    expected = (
        "it needs boxes [images, boxes, 4] and scores [images, boxes, classes], or one output [images, 4 + classes,"
        " boxes]"
    )

    def fits(self, shapes: Shapes) -> bool:
        """Boxes and scores of as many."""
        return layout_of(shapes) is not None

    def is_likely(self, shapes: Shapes) -> bool:
        """Two outputs that fit; one matrix may be anything."""
        return len(shapes) > 1 and self.fits(shapes)

    def classes(self, shapes: Shapes) -> int:
        """Scores of a box."""
        found = layout_of(shapes)
        assert found is not None
        rows = shapes[found.scores][0 if found.scores_last else 1]
        return rows - _SIDES if found.together else rows

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """Mean over the outputs of the squared error as a share of the output's power."""
        return mean_relative_error(student, teacher)

    def comparison(self) -> Comparison:
        """Float's own detections as the truth."""
        return SameDetections()

    def least(self, bits: int) -> Mapping[str, float]:
        """Of mAP against float's detections."""
        return {"map_of_float": _LEAST[bits]}

    def problems(self) -> list[str]:
        """The libraries of the metric."""
        missing = [name for name in _LIBRARIES if find_spec(name) is None]
        remedy = "pip install 'genq-export[detection]'"
        return [f"mAP of detectors needs {' and '.join(missing)}: {remedy}"] if missing else []


DETECTION = Detection()


def layout_of(shapes: Shapes) -> Layout | None:
    """Which outputs are boxes and scores; None where they are not told apart."""
    if len(shapes) == 1:
        ((name, shape),) = shapes.items()
        fits = len(shape) == 2 and shape[1] >= _FEWEST_BOXES and _SIDES < shape[0] < shape[1]
        return Layout(name, name, True, True, together=True) if fits else None
    if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes.values()):
        return None
    for boxes, scores in (tuple(shapes), tuple(shapes)[::-1]):
        for boxes_last in (False, True):
            sides, count = shapes[boxes][0 if boxes_last else 1], shapes[boxes][1 if boxes_last else 0]
            if sides == _SIDES and count >= _FEWEST_BOXES and count in shapes[scores]:
                return Layout(boxes, scores, boxes_last, shapes[scores][0] != count)
    return None


class SameDetections(Comparison):
    """mAP@50:95 of the other's detections where float's above a score are the truth, and SQNR of the outputs."""

    def __init__(self) -> None:
        self._images: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self._worst = WorstOutput()
        self._corners: bool | None = None

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Keep one batch's detections."""
        self._worst.add(reference, found)
        layout = layout_of({name: array.shape[1:] for name, array in reference.items()})
        assert layout is not None
        right, got = boxes_and_scores(layout, reference), boxes_and_scores(layout, found)
        if self._corners is None:
            self._corners = has_corners(right[0])
        for (boxes, scores), (others, their_scores) in zip(
            zip(*right, strict=True), zip(*got, strict=True), strict=True
        ):
            truth = detections(boxes, scores, self._corners, TRUE_SCORE)
            seen = detections(others, their_scores, self._corners, _LEAST_SCORE)
            self._images.append((truth, seen))

    def figures(self) -> tuple[Figure, ...]:
        """mAP first, where float detects anything."""
        if DETECTION.problems() or not any(len(truth["boxes"]) for truth, _ in self._images):
            return self._worst.figures()
        title = f"mAP against float's detections of {TRUE_SCORE:g} and more"
        return (Figure("map_of_float", title, mean_average_precision(self._images)), *self._worst.figures())


def boxes_and_scores(layout: Layout, outputs: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes [B, N, 4] and probabilities [B, N, classes]; of numbers beyond 0 and 1 the sigmoid."""
    boxes, scores = outputs[layout.boxes], outputs[layout.scores]
    boxes = boxes.swapaxes(1, 2) if layout.boxes_last else boxes
    scores = scores.swapaxes(1, 2) if layout.scores_last else scores
    if layout.together:
        boxes, scores = boxes[..., :_SIDES], scores[..., _SIDES:]
    if scores.min() < 0 or scores.max() > 1:
        scores = expit(scores)
    return boxes, scores


def has_corners(boxes: NDArray[np.float32]) -> bool:
    """Are boxes two corners (x1, y1, x2, y2), and not a centre and a size? Told by which of the numbers is larger."""
    return bool(((boxes[..., 2] >= boxes[..., 0]) & (boxes[..., 3] >= boxes[..., 1])).mean() > 0.99)


def detections(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], corners: bool, least: float
) -> dict[str, Tensor]:
    """Boxes of one image as corners, their classes and scores, those suppressed left out, the best first.

    Args:
        boxes: [N, 4].
        scores: [N, classes], in [0, 1].
        corners: of the boxes.
        least: score.
    """
    places, labels = np.nonzero(scores >= least)
    kept, values = (boxes if corners else corners_of(boxes))[places], scores[places, labels]
    best = not_suppressed(kept, values, labels)
    found: dict[str, NDArray[Any]] = {"boxes": kept, "scores": values, "labels": labels}
    return {name: torch.from_numpy(np.ascontiguousarray(part[best])) for name, part in found.items()}


def corners_of(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners of boxes that are a centre and a size, [N, 4]."""
    centre, half = boxes[:, :2], boxes[:, 2:] / np.float32(2)
    return np.concatenate((centre - half, centre + half), axis=1)


def not_suppressed(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Places of the boxes that none with a better score of their class overlaps, the best first.

    By hand, as torchvision's is compiled and not everywhere to be had.

    Args:
        boxes: corners, [N, 4].
        scores: [N].
        labels: [N].
    """
    order, kept = np.argsort(-scores, kind="stable"), list[int]()
    while len(order) and len(kept) < _MOST:
        best, others = order[0], order[1:]
        kept.append(int(best))
        overlaps = (_iou(boxes[best], boxes[others]) > _OVERLAP) & (labels[others] == labels[best])
        order = others[~overlaps]
    return np.array(kept, np.int64)


def _iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of one box [4] with each of others [N, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.clip(sides, 0, None).prod(1)
    own, theirs = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(1)
    found: NDArray[np.float32] = both / np.maximum(own + theirs - both, 1e-9)
    return found


def mean_average_precision(images: list[tuple[dict[str, Tensor], dict[str, Tensor]]]) -> float:
    """mAP@50:95 (COCO's) of the second detections of each image, the first being the truth, in [0, 1]."""
    from torchmetrics.detection import MeanAveragePrecision

    metric: Any = MeanAveragePrecision(backend="pycocotools")
    metric.update([seen for _, seen in images], [truth for truth, _ in images])
    return max(0.0, float(metric.compute()["map"]))
