"""Figures against labels: right answers are best, and they are those of the field's library."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from genq_export.data.truth import UNJUDGED, Boxes
from genq_export.tasks.task import Metric, task_of

RNG = np.random.default_rng(0)


def metric(task: str) -> Metric:
    found = task_of(task).metric()
    assert found is not None
    return found


def value(task: str, outputs: dict[str, np.ndarray], truths: list[object]) -> float:
    counted, half = metric(task), len(truths) // 2
    for part in (slice(0, half), slice(half, None)):
        counted.add({name: array[part] for name, array in outputs.items()}, truths[part])  # type: ignore[arg-type]
    return counted.figures()[0].value


def boxes(images: int = 6) -> tuple[dict[str, np.ndarray], list[object]]:
    """Detectors' outputs that are right, and labels."""
    truths, found = [], np.zeros((images, 20, 4), np.float32)
    scores = np.full((images, 20, 3), 0.001, np.float32)
    for image in range(images):
        corner = np.arange(4)[:, None] * 20 + RNG.uniform(0, 5, (4, 2))
        corners = np.concatenate([corner, corner + RNG.uniform(8, 14, (4, 2))], 1).astype(np.float32)
        labels = RNG.integers(0, 3, 4)
        truths.append(Boxes(corners, labels, np.zeros(4, np.bool_)))
        found[image, :4], found[image, 4:] = corners, [0, 0, 1, 1]
        scores[image, np.arange(4), labels] = 0.9
    return {"boxes": found, "scores": scores}, list(truths)


def test_right_boxes_are_perfect_and_moved_ones_worse() -> None:
    outputs, truths = boxes()
    assert value("detection", outputs, truths) == pytest.approx(1, abs=1e-6)
    moved = outputs | {"boxes": outputs["boxes"] + np.float32(1)}
    wrong = outputs | {"scores": np.roll(outputs["scores"], 1, 2)}
    assert 0.2 < value("detection", moved, truths) < 0.9 > value("detection", wrong, truths)


def test_what_is_found_in_a_crowd_is_not_wrong() -> None:
    outputs, truths = boxes()
    one = truths[0]
    assert isinstance(one, Boxes)
    outputs["scores"][0, 0] = [0.95, 0.001, 0.001]  # sure, and first in order
    label_free = Boxes(one.corners[1:], one.labels[1:], one.crowd[1:])
    crowded = Boxes(one.corners, np.array([0, *one.labels[1:]]), np.array([True, False, False, False]))
    assert value("detection", outputs, [crowded, *truths[1:]]) > value("detection", outputs, [label_free, *truths[1:]])


def test_masks_are_judged_as_torchmetrics_does() -> None:
    logits = RNG.standard_normal((4, 5, 8, 8)).astype(np.float32)
    masks = RNG.integers(0, 5, (4, 8, 8)).astype(np.uint8)
    masks[RNG.random(masks.shape) < 0.2] = UNJUDGED
    jaccard = MulticlassJaccardIndex(5, ignore_index=UNJUDGED)
    expected = float(jaccard(torch.from_numpy(logits), torch.from_numpy(masks).long()))
    assert value("segmentation", {"out": logits}, list(masks)) == pytest.approx(expected, abs=1e-6)


def test_coarse_masks_are_read_by_the_nearest_position() -> None:
    coarse = RNG.integers(0, 3, (2, 4, 4))
    logits = np.eye(3, dtype=np.float32)[coarse].transpose(0, 3, 1, 2)
    fine = coarse.repeat(2, 1).repeat(2, 2).astype(np.uint8)
    assert value("segmentation", {"out": logits}, list(fine)) == 1
