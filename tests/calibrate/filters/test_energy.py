import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibrate.filters.energy import energy


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8), st.floats(0.1, 10), st.floats(-20, 20))
def test_energy_algebra(logits: list[float], temperature: float, shift: float) -> None:
    f = torch.tensor([logits], dtype=torch.float64)
    value = float(energy(f, temperature))
    assert -max(logits) - temperature * math.log(len(logits)) - 1e-9 <= value <= -max(logits) + 1e-9
    assert float(energy(f + shift, temperature)) == pytest.approx(value - shift, abs=1e-9)
    assert float(energy(f * temperature, temperature)) == pytest.approx(temperature * float(energy(f)), abs=1e-9)


def test_energy_of_huge_logits_does_not_overflow() -> None:
    assert float(energy(torch.tensor([[1e30, 0.0]]))) == pytest.approx(-1e30)
