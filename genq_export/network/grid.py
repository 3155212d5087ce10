"""The numerics contract: what a code is, and how numbers become codes and come back.

Uniform grids. With a scale s > 0 (float32) and an integer zero-point z,

    q = clip(round_half_even(x / s) + z, lo, hi)            code of x
    x^ = (q - z) * s                                        the number a code stands for

* Weights: one scale per output channel, signed, [-2^(b-1), 2^(b-1) - 1], z = 0; of 8 bits [-127, 127]: ONNX Runtime
  on ARM64 adds two products in 16 bits, and two of -128 and -128 are more than fit (docs/numerics.md).
* Activations: one scale per tensor. Unsigned [0, 2^b - 1] with z = 0 where the producer cannot be negative;
  signed as weights otherwise; unsigned with an integer z in [0, 2^b - 1] where half a signed grid would be wasted
  (GELU, SiLU, hard-swish).
* Accumulator: the bias lives on the grid s_x * s_w[c] where the target adds it as int32.

Where `--scales pow2` asks for it, activation scales are powers of two, s = 2^k: a shift where multipliers are dear.

The division is a true float32 division and ties go to even, as ONNX QuantizeLinear defines.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# 8-bit codes and their products are exact in float32 while every partial sum stays below this.
FLOAT32_EXACT = 2**24


@dataclass(frozen=True)
class Grid:
    """The codes a tensor may take: `bits` wide, signed around zero or counting up from it.

    symmetric: of a signed grid, without the code that has no counterpart.
    """

    bits: int
    signed: bool
    symmetric: bool = False

    @property
    def lo(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1)) + self.symmetric if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


def weight_grid(bits: int) -> Grid:
    """The codes that a weight is given. (Builds of earlier versions hold -128 as well, and are read as they are.)"""
    return Grid(bits, signed=True, symmetric=bits == 8)


def quantize(x: Tensor, scale: Tensor, lo: int, hi: int, zero_point: int = 0) -> Tensor:
    """Codes of `x` as float32 integers. `scale` broadcasts against `x`."""
    codes = torch.round(x / scale)
    return torch.clamp(codes + zero_point if zero_point else codes, lo, hi)


def dequantize(codes: Tensor, scale: Tensor, zero_point: int = 0) -> Tensor:
    """The numbers that `codes` stand for, float32."""
    return (codes - zero_point if zero_point else codes) * scale


def fake_quantize(x: Tensor, scale: Tensor, lo: int, hi: int, zero_point: int = 0) -> Tensor:
    """`dequantize` of `quantize`: the nearest number that has a code."""
    return dequantize(quantize(x, scale, lo, hi, zero_point), scale, zero_point)


def centered_codes(x_hat: Tensor, scale: Tensor) -> Tensor:
    """q - z of a tensor that already lies on the grid: exact, because (n * s) / s rounds back to n for |n| < 2^22."""
    return torch.round(x_hat / scale)


def bias_codes(bias: Tensor, input_scale: Tensor, weight_scale: Tensor) -> Tensor:
    """Bias [C] on the accumulator grid s_x * s_w[c], as float64 integers within int32."""
    step = (input_scale * weight_scale).double()
    return torch.clamp(torch.round(bias.double() / step), -(2**31), 2**31 - 1)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C] -> [C, 1, ...], to broadcast over the output-channel axis 0 of a weight."""
    return values.view(-1, *([1] * (like.dim() - 1)))


def check_scale(scale: Tensor, owner: str) -> None:
    """Raise ValueError naming `owner` where a scale is not a positive number."""
    if not (torch.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"a scale of '{owner}' is not a positive number")


def check_codes(codes: Tensor, grid: Grid, owner: str) -> None:
    """Raise ValueError naming `owner` where codes are beyond their grid."""
    least, most = torch.aminmax(codes)
    if int(least) < grid.lo or int(most) > grid.hi:
        raise ValueError(f"codes of '{owner}' are beyond their {grid.bits} bits")
