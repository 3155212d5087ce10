"""Sums of products of codes equal integer arithmetic, however large."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from genq_export.network.integer_arithmetic import conv2d_codes, linear_codes, matmul_codes

SEEDS = st.integers(0, 10_000)


def draw(seed: int, low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([7, 63, 576, 4608]), st.sampled_from([(0, 255), (-128, 127), (-255, 0), (0, 15)]))
def test_linear_equals_int64(seed: int, inner: int, limits: tuple[int, int]) -> None:
    x, weight = draw(seed, *limits, 3, inner), draw(seed + 1, -128, 127, 4, inner)
    assert torch.equal(linear_codes(x, weight).long(), x.long() @ weight.long().T)


@pytest.mark.parametrize("x", [255.0, -128.0, 1.0])
@pytest.mark.parametrize("weight", [-128.0, 127.0])
def test_extreme_codes_over_a_long_sum(x: float, weight: float) -> None:
    inner = 40_000
    sums = linear_codes(torch.full((1, inner), x), torch.full((1, inner), weight))
    assert int(sums) == int(x) * int(weight) * inner


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([(1, 1, 1, 1), (2, 1, 1, 2), (1, 2, 2, 8), (2, 0, 1, 1)]))
def test_convolution_equals_int64(seed: int, geometry: tuple[int, int, int, int]) -> None:
    stride, padding, dilation, groups = geometry
    x, weight = draw(seed, 0, 255, 2, 8, 7, 7), draw(seed + 1, -128, 127, 8, 8 // groups, 3, 3)
    pairs = [stride] * 2, [padding] * 2, [dilation] * 2
    expected = F.conv2d(x.long(), weight.long(), None, *pairs, groups)
    assert torch.equal(conv2d_codes(x, weight, *pairs, groups).long(), expected)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([4, 197, 3000]))
def test_activation_products_equal_int64(seed: int, inner: int) -> None:
    a, b = draw(seed, 0, 255, 2, 5, inner), draw(seed + 1, -128, 127, 2, inner, 3)
    assert torch.equal(matmul_codes(a, b).long(), a.long() @ b.long())
