"""Written-out gradients are those of autograd; masks drop their share."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor

from genq_export.quantization.algorithms.adaround import rectified_sigmoid
from genq_export.quantization.algorithms.autograd import (
    drop_mask,
    drop_masks,
    mix,
    quantize_with_drop,
    rounding_regulariser,
    soft_rounded,
    squared_error,
)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)) * 3


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


@pytest.mark.parametrize("weighted", [False, True])
def test_the_squared_error_and_its_gradient_are_the_plain_ones(weighted: bool) -> None:
    found, target = numbers(3, 5, 4, 4).requires_grad_(), numbers(9, 5, 4, 4).sin()
    rows = [7, 0, 7]
    parts = [lambda x: x, lambda x: x[:, 1:3], lambda x: x[:, :, 2:]]
    weights = [part(numbers(5, 4, 4).abs()) if weighted else torch.tensor(1.0) for part in parts]
    given = weights if weighted else None
    loss = squared_error(found, [part(target[row]) for part, row in zip(parts, rows, strict=True)], parts, given)
    plain = sum(
        (weight * (part(found[place]) - part(target[row])).square()).sum()
        for place, (part, row, weight) in enumerate(zip(parts, rows, weights, strict=True))
    )
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
    assert torch.equal(mix(a[rows], b[rows], 0.0, torch.Generator()), a[rows])
    mixed = mix(a[rows], b[rows], 0.5, torch.Generator().manual_seed(0))
    assert bool(((mixed == a[rows]) | (mixed == b[rows])).all())
    assert 0.3 < float((mixed == b[rows]).float().mean()) < 0.7


@limits(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(1, 200), st.sampled_from([0.25, 0.5, 1.0]))
def test_masks_drawn_together_are_those_drawn_one_by_one(rows: int, count: int, drop: float) -> None:
    together, single = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    expected = torch.stack([drop_mask(count, drop, single) for _ in range(rows)])
    assert torch.equal(drop_masks(rows, count, drop, together), expected)


@pytest.mark.parametrize("size", [3, 300])  # all rows at once; a few at a time
def test_mixing_a_batch_is_mixing_its_rows_one_by_one(size: int) -> None:
    a, b = numbers(5, size, size), -numbers(5, size, size)
    together, single = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    expected = torch.cat([mix([x], [y], 0.5, single) for x, y in zip(a, b, strict=True)])
    assert torch.equal(mix(list(a), list(b), 0.5, together), expected)


@limits(deadline=None, max_examples=20)
@given(st.integers(2, 8), st.floats(2, 20), st.integers(0, 100))
def test_written_out_gradients_of_learned_rounding_are_those_of_autograd(bits: int, beta: float, seed: int) -> None:
    generator, low, high = torch.Generator().manual_seed(seed), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    v = (torch.randn(6, 4, 3, 3, generator=generator) * 2).requires_grad_()
    base = torch.randint(low, high + 1, v.shape, generator=generator).float()
    scale = (torch.rand(6, 1, 1, 1, generator=generator) + 0.1).requires_grad_()
    upstream = torch.randn(v.shape, generator=generator)

    h = rectified_sigmoid(v)
    weight = scale * torch.clamp(base + h, low, high)
    regulariser = (1 - (2 * h - 1).abs().pow(beta)).sum()
    expected = torch.autograd.grad((weight * upstream).sum() + 0.1 * regulariser, (v, scale))
    fast = soft_rounded(v, base, scale, low, high)
    penalty = rounding_regulariser(v, beta)
    found = torch.autograd.grad((fast * upstream).sum() + 0.1 * penalty, (v, scale))

    assert torch.equal(fast, weight) and torch.allclose(penalty, regulariser, rtol=1e-4)
    for ours, autograds in zip(found, expected, strict=True):
        assert torch.allclose(ours, autograds, rtol=1e-3, atol=1e-4)
