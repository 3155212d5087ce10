import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from calibrate.filters.energy import energy
from genq_export.network.probabilities import LastProbabilities, hides_logits


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8), st.floats(0.1, 10), st.floats(-20, 20))
def test_energy_algebra(logits: list[float], temperature: float, shift: float) -> None:
    f = torch.tensor([logits], dtype=torch.float64)
    value = float(energy(f, temperature))
    assert -max(logits) - temperature * math.log(len(logits)) - 1e-9 <= value <= -max(logits) + 1e-9
    assert float(energy(f + shift, temperature)) == pytest.approx(value - shift, abs=1e-9)
    assert float(energy(f * temperature, temperature)) == pytest.approx(temperature * float(energy(f)), abs=1e-9)


def test_energy_of_huge_logits_does_not_overflow() -> None:
    assert float(energy(torch.tensor([[1e30, 0.0]]))) == pytest.approx(-1e30)


class Ends(nn.Module):
    """A linear layer, and what a user's own code does behind it."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.end = nn.Linear(4, 4), end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.inner(x.flatten(1)))


@pytest.mark.parametrize(
    "end",
    [
        nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid(), torch.sigmoid, lambda y: y,
        lambda y: F.softmax(y, dim=1), lambda y: y.log_softmax(-1), lambda y: F.softmax(input=y, dim=1).view(-1, 4),
        lambda y: torch.ops.aten.softmax.int(y, 1),
    ],
)  # fmt: skip
def test_what_enters_the_softmax_at_the_end_is_the_logits(end: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    network, x = Ends(end).eval(), torch.randn(3, 1, 2, 2)
    with torch.inference_mode(), LastProbabilities() as last:
        answer = network(x)
    assert torch.equal(last.in_front(answer), network.inner(x.flatten(1)))
    assert not hides_logits(network, (1, 2, 2), lambda answer: answer)


@pytest.mark.parametrize(
    ("end", "hidden"),
    [
        (lambda y: y.softmax(1) * 1.0, True),
        (lambda y: y.softmax(1).clamp(1e-7, 1).log(), True),
        (lambda y: y.exp() / y.exp().sum(1, keepdim=True), True),
        (lambda y: y.softmax(1) @ torch.eye(4).flip(0) * 3, False),
        (lambda y: y.softmax(1).cumsum(1), False),
    ],
)
def test_probabilities_whose_logits_are_not_seen(end: Callable[[Tensor], Tensor], hidden: bool) -> None:
    torch.manual_seed(0)
    network, x = Ends(end).eval(), torch.randn(3, 1, 2, 2)
    with torch.inference_mode(), LastProbabilities() as last:
        answer = network(x)
    assert last.in_front(answer) is answer
    assert hides_logits(network, (1, 2, 2), lambda answer: answer) == hidden


def test_of_a_sequence_every_position_has_its_logits() -> None:
    torch.manual_seed(0)
    y = torch.randn(2, 7, 5)  # [B, positions, classes]
    with torch.inference_mode(), LastProbabilities() as last:
        answer = y.softmax(-1).transpose(1, 2)
    assert torch.equal(last.in_front(answer), y.transpose(1, 2))
