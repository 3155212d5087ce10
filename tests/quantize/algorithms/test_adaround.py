"""Learned rounding and learned scales."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor

from genq_export.network import grid
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.quantize import range_search
from genq_export.quantize.algorithms.adaround import SoftRounding, inverse_rectified_sigmoid, rectified_sigmoid
from genq_export.quantize.algorithms.autograd import (
    drop_mask,
    mix,
    quantize_with_drop,
    rounding_regulariser,
    soft_rounded,
    squared_error,
)
from genq_export.quantize.algorithms.lsq import ScaleLearner


def layer(bits: int, seed: int = 0) -> QuantizedLayer:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(seed))
    part = QuantizedLayer("conv", "conv2d", bits, weight, None, False)
    part.weight_scale.copy_(range_search.search_weight_scale(weight, part.grid))
    part.round_weight()
    return part


def quantizer(bits: int = 4, scale: float = 0.3, zero_point: int = 0) -> ActivationQuantizer:
    part = ActivationQuantizer("act", bits, signed=False, asymmetric=zero_point > 0)
    part.scale.fill_(scale)
    part.zero_point.fill_(zero_point)
    return part


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)) * 3


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
def test_scales_stay_positive_and_finite_under_any_learning_rate(step: float) -> None:
    part, activation = layer(4), quantizer()
    rounding, scale = SoftRounding(part), ScaleLearner(activation, 0.5, torch.Generator())
    with torch.no_grad():
        rounding.log_scale += step
        scale.log_scale += step
    rounding.commit(part)
    scale.commit(activation)
    for tensor in (part.weight_scale, activation.scale):
        assert bool((tensor > 0).all()) and bool(torch.isfinite(tensor).all())
    assert bool(torch.isfinite(rounding()).all())


def test_what_was_not_learned_is_committed_unchanged() -> None:
    activation, part = quantizer(scale=0.123456), layer(4)
    before = part.weight_scale.clone()
    ScaleLearner(activation, 0.5, torch.Generator()).commit(activation)
    SoftRounding(part).commit(part)
    assert float(activation.scale) == float(torch.tensor(0.123456))
    assert torch.equal(part.weight_scale, before)


@pytest.mark.parametrize("zero_point", [0, 3])
def test_without_drop_a_learner_is_its_quantizer(zero_point: int) -> None:
    part = quantizer(zero_point=zero_point)
    x = numbers(3, 50_000)  # several pieces
    assert torch.equal(ScaleLearner(part, 0.0, torch.Generator())(x), part(x))


def test_dropped_numbers_pass_and_the_rest_is_quantized() -> None:
    part = quantizer()
    x = numbers(2, 40_000)
    found = ScaleLearner(part, 0.5, torch.Generator().manual_seed(0))(x)
    passed = found == x
    assert bool(((found == part(x)) | passed).all())
    assert 0.45 < float(passed.float().mean()) < 0.6


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_gradients_are_those_of_lsq(drop: float) -> None:
    x = numbers(70_000).requires_grad_()
    scale = torch.tensor(0.3, requires_grad=True)
    mask = drop_mask(x.numel(), drop, torch.Generator().manual_seed(1)) if drop else None
    given = numbers(70_000).cos()
    found = torch.autograd.grad(quantize_with_drop(x, scale, -3, 12, mask), (x, scale), given)
    rounded = x / scale + (torch.round(x / scale) - x / scale).detach()
    plain = torch.clamp(rounded, -3, 12) * scale
    if mask is not None:
        plain = torch.where(mask, x, plain)
    expected = torch.autograd.grad(plain, (x, scale), given)
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1], rtol=1e-3)


def test_the_squared_error_and_its_gradient_are_the_plain_ones() -> None:
    found, target = numbers(3, 5, 4, 4).requires_grad_(), numbers(9, 5, 4, 4).sin()
    rows = torch.tensor([7, 0, 7])
    loss, plain = squared_error(found, target, rows), (found - target[rows]).square().sum()
    assert torch.allclose(loss, plain)
    (gradient,), (expected,) = (torch.autograd.grad(value * 0.5, found) for value in (loss, plain))
    assert torch.allclose(gradient, expected)


def test_masks_drop_their_share_and_repeat_with_their_seed() -> None:
    for drop in (0.25, 0.5, 1.0):
        first, second = (drop_mask(100_003, drop, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(first, second) and len(first) == 100_003
        assert abs(float(first.float().mean()) - drop) < 0.01


def test_mix_takes_each_element_from_one_of_two_rows() -> None:
    a, b = numbers(6, 3, 9, 9), -numbers(6, 3, 9, 9)
    rows = torch.tensor([4, 1, 4])
    assert torch.equal(mix(a, b, rows, 0.0, torch.Generator()), a[rows])
    mixed = mix(a, b, rows, 0.5, torch.Generator().manual_seed(0))
    assert bool(((mixed == a[rows]) | (mixed == b[rows])).all())
    assert 0.3 < float((mixed == b[rows]).float().mean()) < 0.7


@limits(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.floats(2, 20), st.integers(0, 100))
def test_written_out_gradients_of_learned_rounding_are_those_of_autograd(bits: int, beta: float, seed: int) -> None:
    part = layer(bits, seed)
    learner = SoftRounding(part)
    with torch.no_grad():
        learner.v += torch.randn(learner.v.shape, generator=torch.Generator().manual_seed(seed)) * 2
    scale = grid.per_channel(part.weight_scale, part.weight).clone().requires_grad_()
    upstream = torch.randn(part.weight.shape, generator=torch.Generator().manual_seed(1))

    h = rectified_sigmoid(learner.v)
    weight = scale * torch.clamp(learner.base + h, learner.lo, learner.hi)
    regulariser = (1 - (2 * h - 1).abs().pow(beta)).sum()
    expected = torch.autograd.grad((weight * upstream).sum() + 0.1 * regulariser, (learner.v, scale))
    fast = soft_rounded(learner.v, learner.base, scale, learner.lo, learner.hi)
    penalty = rounding_regulariser(learner.v, beta)
    found = torch.autograd.grad((fast * upstream).sum() + 0.1 * penalty, (learner.v, scale))

    assert torch.equal(fast, weight) and torch.allclose(penalty, regulariser, rtol=1e-4)
    for ours, autograds in zip(found, expected, strict=True):
        assert torch.allclose(ours, autograds, rtol=1e-3, atol=1e-4)
