"""The schedules of block reconstruction."""

import pytest
import torch

from genq_export.quantization.algorithms.reconstruction import (
    BETA_END,
    BETA_START,
    WARM_UP,
    beta_at,
    computes_in_bfloat16,
    lr_scale,
)


def test_beta_waits_and_then_falls_in_a_line() -> None:
    assert beta_at(0) is None and beta_at(WARM_UP - 1e-6) is None
    assert beta_at(WARM_UP) == pytest.approx(BETA_START)
    assert beta_at((1 + WARM_UP) / 2) == pytest.approx((BETA_START + BETA_END) / 2)
    assert beta_at(1.0) == pytest.approx(BETA_END)


def test_few_steps_are_larger_ones_and_many_are_as_configured() -> None:
    assert [lr_scale(count) for count in (250, 1000, 20_000)] == [2.0, 1.0, 1.0]


def test_bfloat16_is_for_machines_that_have_it() -> None:
    cpu = torch.device("cpu")
    assert computes_in_bfloat16(cpu, {"avx2": True, "avx512_bf16": True, "amx_bf16": False})
    assert not computes_in_bfloat16(cpu, {"avx2": True, "avx512_bf16": False, "cpu_name": "a bf16-free one"})
