"""Cells that answer for a box lie in it, and losses are least where the boxes are right."""

import torch
from torch import Tensor

from genq_export.zoo.detector import BINS
from tools.train_zoo.box_losses import Truth, assign, box_iou, distribution_loss, generalized_iou

CENTRES = torch.stack(torch.meshgrid(torch.arange(4.0, 80, 8), torch.arange(4.0, 80, 8), indexing="xy"), -1)
CELLS = CENTRES.reshape(-1, 2)


def around(centres: Tensor, half: float) -> Tensor:
    return torch.cat((centres - half, centres + half), -1)


def truth() -> Truth:
    boxes = torch.tensor([[[8.0, 8, 40, 40], [48, 48, 72, 64], [0, 0, 0, 0]]])
    return Truth(boxes, torch.tensor([[1, 2, 0]]), torch.tensor([[True, True, False]]))


def test_only_cells_inside_answer_and_the_best_is_asked_most() -> None:
    boxes, scores = around(CELLS, 12)[None], torch.full((1, len(CELLS), 3), 0.1)
    found = assign(boxes, scores, CELLS, truth())
    inside = ((found.boxes[..., :2] < CELLS) & (found.boxes[..., 2:] > CELLS)).all(-1)
    assert found.answers.any() and inside[found.answers].all()
    assert (found.scores[~found.answers] == 0).all() and found.scores[..., 0].max() == 0
    overlap = box_iou(found.boxes, boxes)
    for label in (1, 2):
        asked = found.scores[0, :, label]
        assert overlap[0, asked.argmax()] == overlap[0][asked > 0].max()
        torch.testing.assert_close(asked.max(), overlap[0, asked.argmax()], rtol=1e-3, atol=0)


def test_no_box_no_answer() -> None:
    empty = Truth(torch.zeros(1, 3, 4), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.bool))
    found = assign(around(CELLS, 12)[None], torch.full((1, len(CELLS), 3), 0.1), CELLS, empty)
    assert not found.answers.any() and found.scores.sum() == 0


def test_overlap_of_boxes() -> None:
    first = torch.tensor([0.0, 0, 10, 10])
    assert float(box_iou(first, torch.tensor([5.0, 0, 15, 10]))) == torch.tensor(1 / 3)
    assert float(generalized_iou(first, first)) == 1
    assert float(generalized_iou(first, torch.tensor([20.0, 0, 30, 10]))) < 0
    near, far = (generalized_iou(first, torch.tensor([x, 0, x + 10, 10])) for x in (12.0, 40.0))
    assert near > far  # boxes that do not meet still draw each other nearer


def test_a_distance_between_two_bins_wants_both() -> None:
    distances = torch.full((1, 4), 2.25)
    sides = torch.full((1, 4, BINS), -20.0)
    sides[..., 2], sides[..., 3] = torch.tensor(0.75).log(), torch.tensor(0.25).log()
    best = distribution_loss(sides, distances)
    assert (best < distribution_loss(sides.roll(1, -1), distances)).all()
    mean = (sides.softmax(-1) * torch.arange(float(BINS))).sum(-1)
    torch.testing.assert_close(mean, distances, atol=1e-4, rtol=0)
