"""Boxes and scores in the forms in which detectors give them, and what is detected: pure functions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from genq_export.tasks.task import Arrays, Shapes

_MOST = 100  # boxes of an image, as COCO's mAP has it
_OVERLAP = 0.5  # IoU beyond which the lesser of two boxes of a class is suppressed
SIDES = 4
_FEWEST_BOXES = 10  # fewer are numbers, not boxes
Images = list[tuple[dict[str, Tensor], dict[str, Tensor]]]  # truth and what is detected, of each image


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


def layout_of(shapes: Shapes) -> Layout | None:
    """Which outputs are boxes and scores; None where they are not told apart."""
    if len(shapes) == 1:
        ((name, shape),) = shapes.items()
        fits = len(shape) == 2 and shape[1] >= _FEWEST_BOXES and SIDES < shape[0] < shape[1]
        return Layout(name, name, True, True, together=True) if fits else None
    if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes.values()):
        return None
    for boxes, scores in (tuple(shapes), tuple(shapes)[::-1]):
        for boxes_last in (False, True):
            sides, count = shapes[boxes][0 if boxes_last else 1], shapes[boxes][1 if boxes_last else 0]
            if sides == SIDES and count >= _FEWEST_BOXES and count in shapes[scores]:
                return Layout(boxes, scores, boxes_last, shapes[scores][0] != count)
    return None


def boxes_and_scores(layout: Layout, outputs: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes [B, N, 4] and probabilities [B, N, classes]; of numbers beyond 0 and 1 the sigmoid."""
    boxes, scores = outputs[layout.boxes], outputs[layout.scores]
    boxes = boxes.swapaxes(1, 2) if layout.boxes_last else boxes
    scores = scores.swapaxes(1, 2) if layout.scores_last else scores
    if layout.together:
        boxes, scores = boxes[..., :SIDES], scores[..., SIDES:]
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


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's means over classes, in [0, 1]: over overlaps of 0.50 to 0.95, and of 0.50 alone."""

    over_overlaps: float
    at_half: float


def average_precision(images: Images) -> AveragePrecision:
    """Of the second detections of each image, the first being the truth."""
    from torchmetrics.detection import MeanAveragePrecision

    metric: Any = MeanAveragePrecision(backend="pycocotools")
    metric.update([seen for _, seen in images], [truth for truth, _ in images])
    found = metric.compute()
    return AveragePrecision(max(0.0, float(found["map"])), max(0.0, float(found["map_50"])))
