"""The mean square of a score's gradient is the curvature of the divergence."""

import torch
from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.score import OF_CLASSES, Score, score_of
from genq_export.tasks.task import task_of


def mean_square(score: Score, answer: Answer, of: Tensor, draws: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(of)
    for _ in range(draws):
        (gradient,) = torch.autograd.grad(score(answer, generator), of, retain_graph=True)
        total += gradient.square()
    return total / draws


def test_of_logits_it_is_the_hessian_of_the_divergence() -> None:
    """diag of d^2 KL(softmax(z) || softmax(q)) / dq^2 at q = z: p (1 - p)."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.4, 0.3]], requires_grad=True)
    found = mean_square(OF_CLASSES, logits * 1.0, logits, 4000)
    p = logits.detach().softmax(1)
    assert torch.allclose(found, p * (1 - p), atol=0.02)


def test_classes_at_positions_are_drawn_at_each() -> None:
    maps = torch.zeros(1, 2, 2, 3, requires_grad=True)
    found = mean_square(score_of(task_of("segmentation")), {"masks": maps * 1.0}, maps, 200)
    assert torch.allclose(found, torch.full_like(found, 0.25))


def test_of_other_outputs_it_is_the_same_for_each_as_a_share_of_it() -> None:
    small, large = torch.full((2, 6), 0.1, requires_grad=True), torch.full((2, 6), 100.0, requires_grad=True)
    answer = {"small": small * 1.0, "large": large * 1.0}
    score = score_of(task_of("tensors"))
    for tensor in (small, large):
        share = mean_square(score, answer, tensor, 4000) * tensor.detach().square()
        assert torch.allclose(share, torch.ones_like(share), atol=0.15)
