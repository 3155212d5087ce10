"""What the detector learns from: which cells answer for which box, and how wrong they are."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from genq_export.zoo.detector import BINS

_CANDIDATES = 8  # cells that answer for a box
_SCORE_POWER, _IOU_POWER = 0.5, 6.0
_SMALL = 1e-9


@dataclass(frozen=True)
class Truth:
    """Boxes of a batch, filled up with zeros: boxes [B, M, 4], labels int64 [B, M], real bool [B, M]."""

    boxes: Tensor
    labels: Tensor
    real: Tensor


@dataclass(frozen=True)
class Assignment:
    """By cell: target scores [B, N, classes], the box it answers for [B, N, 4], whether it answers for one [B, N]."""

    scores: Tensor
    boxes: Tensor
    answers: Tensor


def assign(boxes: Tensor, scores: Tensor, centres: Tensor, truth: Truth) -> Assignment:
    """Let the cells answer that are best already (Feng et al., TOOD, ICCV 2021, eq. 2).

    Args:
        boxes: found, [B, N, 4] in pixels.
        scores: found, [B, N, classes] in [0, 1].
        centres: of the cells, in pixels, [N, 2].
        truth: what is there.
    """
    inside = _inside(centres, truth.boxes) & truth.real[..., None]  # [B, M, N]
    overlap = box_iou(truth.boxes[:, :, None], boxes[:, None]).clamp(0) * inside
    of_class = scores.transpose(1, 2).gather(1, truth.labels[..., None].expand(-1, -1, scores.shape[1]))
    alignment = (of_class + _SMALL) ** _SCORE_POWER * overlap**_IOU_POWER * inside + inside * _SMALL
    best = torch.zeros_like(inside).scatter_(2, alignment.topk(_CANDIDATES, 2).indices, True) & inside
    owner = (overlap * best + best * _SMALL).max(1)  # a cell in several boxes answers for the one it meets best
    answers = owner.values > 0
    chosen = best & (F.one_hot(owner.indices, truth.boxes.shape[1]).transpose(1, 2) > 0)
    alignment = alignment * chosen
    largest_overlap = (overlap * chosen).amax(2, keepdim=True)
    strength = (alignment / (alignment.amax(2, keepdim=True) + _SMALL) * largest_overlap).amax(1)  # [B, N]
    labels = truth.labels.gather(1, owner.indices)
    target = F.one_hot(labels, scores.shape[2]).float() * (strength * answers)[..., None]
    return Assignment(target, truth.boxes.gather(1, owner.indices[..., None].expand(-1, -1, 4)), answers)


def detection_loss(sides: Tensor, logits: Tensor, boxes: Tensor, found: Assignment, cells: Tensor) -> Tensor:
    """Cross-entropy of the scores, 1 - GIoU of the boxes and cross-entropy of the sides' distributions.

    Args:
        sides: logits of distances, [B, N, 4, BINS].
        logits: of classes, [B, N, classes].
        boxes: found, [B, N, 4] in pixels.
        found: what they should be.
        cells: middles and stride of the cells, in pixels, [N, 3].
    """
    total = found.scores.sum().clamp(min=1)
    of_scores = F.binary_cross_entropy_with_logits(logits, found.scores, reduction="sum") / total
    weight = found.scores.sum(-1)[found.answers]
    wanted, which = found.boxes[found.answers], found.answers.nonzero()[:, 1]
    of_boxes = ((1 - generalized_iou(boxes[found.answers], wanted)) * weight).sum() / total
    centres, strides = cells[which, :2], cells[which, 2:]
    distances = torch.cat((centres - wanted[:, :2], wanted[:, 2:] - centres), 1) / strides
    of_sides = (distribution_loss(sides[found.answers], distances) * weight).sum() / total
    return of_scores + 4 * of_boxes + of_sides


def distribution_loss(sides: Tensor, distances: Tensor) -> Tensor:
    """Cross-entropy to the two whole distances around each (Generalized Focal Loss, eq. 6); [K, 4, BINS] -> [K]."""
    distances = distances.clamp(0, BINS - 1 - 0.01)
    lower = distances.long()
    upper_share = distances - lower
    flat = sides.flatten(0, 1)
    below = F.cross_entropy(flat, lower.flatten(), reduction="none").view_as(distances)
    above = F.cross_entropy(flat, lower.flatten() + 1, reduction="none").view_as(distances)
    return (below * (1 - upper_share) + above * upper_share).mean(1)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Of boxes [..., 4] with boxes that broadcast to them."""
    both, either = _shared(first, second)
    return both / either


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU less the share of the smallest box around both that neither fills (Rezatofighi et al., CVPR 2019)."""
    both, either = _shared(first, second)
    sides = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    around = sides.clamp(0).prod(-1) + _SMALL
    return both / either - (around - either) / around


def _shared(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union."""
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    both = sides.clamp(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(0).prod(-1) for boxes in (first, second)]
    return both, areas[0] + areas[1] - both + _SMALL


def _inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """Does a cell's middle lie in a box? bool [B, M, N]."""
    to_first, to_last = centres - boxes[:, :, None, :2], boxes[:, :, None, 2:] - centres
    return torch.cat((to_first, to_last), -1).amin(-1) > 0
