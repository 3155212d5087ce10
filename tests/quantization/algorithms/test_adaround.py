"""Learned rounding of weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from genq_export.network import grid, range_search
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.quantization.algorithms.adaround import SoftRounding, inverse_rectified_sigmoid, rectified_sigmoid


def layer(bits: int, seed: int = 0) -> QuantizedLayer:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(seed))
    part = QuantizedLayer("conv", "conv2d", bits, weight, None, False)
    part.weight_scale.copy_(range_search.search_weight_scale(weight, part.grid))
    part.round_weight()
    return part


@given(st.floats(0.01, 0.99))
def test_the_rectified_sigmoid_is_inverted(h: float) -> None:
    assert abs(float(rectified_sigmoid(inverse_rectified_sigmoid(torch.tensor(h)))) - h) < 1e-5


@limits(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.integers(0, 100))
def test_a_soft_weight_starts_at_the_float_weight_and_hard_rounding_is_nearest(bits: int, seed: int) -> None:
    part = layer(bits, seed)
    learner = SoftRounding(part)
    scale = grid.per_channel(part.weight_scale, part.weight)
    inside = (part.weight / scale > part.grid.lo) & (part.weight / scale < part.grid.hi)
    assert bool(((learner() - part.weight).abs() <= scale * 2e-3)[inside].all())
    before = part.codes.clone()
    learner.commit(part)
    assert torch.equal(part.codes, before)


@limits(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.integers(0, 100))
def test_learning_starts_from_the_codes_that_the_layer_has(bits: int, seed: int) -> None:
    part = layer(bits, seed)
    moved = torch.randint(-2, 3, part.codes.shape, generator=torch.Generator().manual_seed(seed))
    codes = (part.codes + moved).clamp(part.grid.lo, part.grid.hi).to(torch.int8)
    part.codes.copy_(codes)
    near = SoftRounding(part, init_margin=0.2)
    away = (near() / grid.per_channel(part.weight_scale, part.weight) - codes).abs()
    assert float(away.detach().max()) < 0.201
    for learner in (near, SoftRounding(part)):
        learner.commit(part)
        assert torch.equal(part.codes, codes)


@limits(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.integers(0, 100))
def test_a_soft_weight_is_within_one_step_of_the_hard_one_whatever_was_learned(bits: int, seed: int) -> None:
    part = layer(bits, seed)
    learner = SoftRounding(part)
    with torch.no_grad():
        learner.v += torch.randn(learner.v.shape) * 5
        learner.log_scale += torch.randn(learner.log_scale.shape) * 0.1
    soft = learner()
    learner.commit(part)
    scale = grid.per_channel(part.weight_scale, part.weight)
    assert int(part.codes.min()) >= part.grid.lo and int(part.codes.max()) <= part.grid.hi
    assert bool(((soft - part.codes * scale).abs() <= scale * 0.501).all())


def test_the_regulariser_is_zero_once_all_is_decided() -> None:
    learner = SoftRounding(layer(4))
    assert float(learner.regulariser(2.0).detach()) > 1
    with torch.no_grad():
        learner.v.copy_(torch.where(learner.v > 0, 20.0, -20.0))
    assert float(learner.regulariser(2.0).detach()) == 0


@pytest.mark.parametrize("step", [1e3, -1e3, 1e30])
def test_weight_scales_stay_positive_and_finite_under_any_learning_rate(step: float) -> None:
    part = layer(4)
    rounding = SoftRounding(part)
    with torch.no_grad():
        rounding.log_scale += step
    rounding.commit(part)
    assert bool((part.weight_scale > 0).all()) and bool(torch.isfinite(part.weight_scale).all())
    assert bool(torch.isfinite(rounding()).all())


def test_a_weight_scale_that_was_not_learned_is_committed_unchanged() -> None:
    part = layer(4)
    before = part.weight_scale.clone()
    SoftRounding(part).commit(part)
    assert torch.equal(part.weight_scale, before)
