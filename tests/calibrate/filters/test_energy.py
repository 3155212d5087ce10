import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from calibrate.filters.energy import energy, softmax_watched


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8), st.floats(0.1, 10), st.floats(-20, 20))
def test_energy_algebra(logits: list[float], temperature: float, shift: float) -> None:
    f = torch.tensor([logits], dtype=torch.float64)
    value = float(energy(f, temperature))
    assert -max(logits) - temperature * math.log(len(logits)) - 1e-9 <= value <= -max(logits) + 1e-9
    assert float(energy(f + shift, temperature)) == pytest.approx(value - shift, abs=1e-9)
    assert float(energy(f * temperature, temperature)) == pytest.approx(temperature * float(energy(f)), abs=1e-9)


def test_energy_of_huge_logits_does_not_overflow() -> None:
    assert float(energy(torch.tensor([[1e30, 0.0]]))) == pytest.approx(-1e30)


def test_what_enters_the_softmax_at_the_end_is_the_logits_and_only_that() -> None:
    torch.manual_seed(0)
    inner, x = nn.Linear(4, 4), torch.randn(3, 4)
    for network, logits in (
        (nn.Sequential(inner, nn.Softmax(1)), inner),
        (nn.Sequential(inner, nn.LogSoftmax(1)), inner),
        (nn.Sequential(nn.Softmax(1), inner), nn.Sequential(nn.Softmax(1), inner)),
        (inner, inner),
    ):
        with torch.inference_mode(), softmax_watched(network) as last:
            answer = network(x)
        assert torch.equal(last.logits(answer), logits(x))
        assert not any(part._forward_hooks for part in network.modules())
