"""The schedules of block reconstruction."""

import pytest

from genq_export.quantization.algorithms.reconstruction import BETA_END, BETA_START, WARM_UP, beta_at, lr_scale


def test_beta_waits_and_then_falls_in_a_line() -> None:
    assert beta_at(0) is None and beta_at(WARM_UP - 1e-6) is None
    assert beta_at(WARM_UP) == pytest.approx(BETA_START)
    assert beta_at((1 + WARM_UP) / 2) == pytest.approx((BETA_START + BETA_END) / 2)
    assert beta_at(1.0) == pytest.approx(BETA_END)


def test_few_steps_are_larger_ones_and_many_are_as_configured() -> None:
    assert [lr_scale(count) for count in (250, 1000, 20_000)] == [2.0, 1.0, 1.0]
