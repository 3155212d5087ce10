"""Convolutions and products of integer codes whose sums are exact.

Codes travel as float32 integers. float32 adds integers exactly while every partial sum stays below 2^24, which 4-bit
codes do in any network we know and 8-bit codes do not. Wider sums take the exact route: split the input codes into a
high and a low nibble, q = 16 h + l, so that each half sums exactly in float32, and add the halves in float64.
Where even a half could overflow, float64 does it all (exact below 2^53).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from genq_export.network.grid import FLOAT32_EXACT

Product = Callable[[Tensor, Tensor], Tensor]


def conv2d_codes(
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    bias: Tensor | None = None,
) -> Tensor:
    """Exact integer convolution of centred codes; returns the accumulator as integers in float32 or float64.

    bias: integers in float64 that broadcast against the accumulator and are added to it.
    """

    def product(a: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(a, w, None, stride, padding, dilation, groups)

    return _exact(product, x, weight, _row_sum(weight), bias)


def linear_codes(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Exact integer product x @ weight.T of centred codes; returns the accumulator, with `bias` as above."""
    return _exact(F.linear, x, weight, _row_sum(weight), bias)


def matmul_codes(a: Tensor, b: Tensor) -> Tensor:
    """Exact integer a @ b of centred codes; returns the accumulator."""
    return _exact(torch.matmul, a, b, float(b.abs().sum(-2).max()))


def _row_sum(weight: Tensor) -> float:
    """Largest sum of |weight codes| that meets one output."""
    return float(weight.abs().flatten(1).sum(1).max())


def _exact(product: Product, x: Tensor, weight: Tensor, row_sum: float, bias: Tensor | None = None) -> Tensor:
    least, most = torch.aminmax(x)
    largest = max(-float(least), float(most))
    if row_sum * largest < FLOAT32_EXACT:
        sums = product(x, weight)
        if bias is not None and row_sum * largest + float(bias.abs().max()) < FLOAT32_EXACT:
            return sums.add_(bias.float())
    elif row_sum * 16 < FLOAT32_EXACT and largest <= 256:
        high = torch.floor(x / 16)
        low = x - 16 * high
        sums = product(high, weight).double() * 16 + product(low, weight).double()
    else:
        sums = product(x.double(), weight.double())
    return sums if bias is None else sums.double() + bias
