"""The integer model's operators, as `torch.library.custom_op`s: eager kernels are the exact integer oracle.

Tensors between layers are numbers on a grid; a kernel recovers their codes (exact: see grid.centered_codes), multiplies
and adds in float64, which holds every integer below 2^53, and rescales once in float32 as integer runtimes do:

    y = float32(sum q_w * q_x + q_b) * float32(s_x * s_w[c])          bias int32 on the accumulator grid
    y = float32(sum q_w * q_x) * float32(s_x * s_w[c]) + b            bias float32

`name` is the path of the module that calls; kernels ignore it, exported nodes carry it.

This is deliberately not the arithmetic of the reference (float32 halves, genq_export.network.integer_arithmetic):
two routes that agree on every code check each other.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.library.custom_op("genq::quantize_dequantize", mutates_args=())
def quantize_dequantize(x: Tensor, scale: Tensor, zero_point: int, lo: int, hi: int, name: str) -> Tensor:
    """Nearest number on the grid: (clip(round_half_even(x / scale) + zero_point, lo, hi) - zero_point) * scale."""
    codes = torch.clamp(torch.round(x / scale) + zero_point, lo, hi)
    return (codes - zero_point) * scale


@quantize_dequantize.register_fake
def _(x: Tensor, scale: Tensor, zero_point: int, lo: int, hi: int, name: str) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("genq::conv2d", mutates_args=())
def conv2d(
    x: Tensor,
    input_scale: Tensor,
    weight_codes: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    bias_scale: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    name: str,
) -> Tensor:
    """2-D convolution of codes; x [B, Cin, H, W] on its grid -> float32 [B, C, H', W']."""
    sums = F.conv2d(_codes(x, input_scale), weight_codes.double(), None, stride, padding, dilation, groups)
    return _rescale(sums, bias.view(-1, 1, 1), (input_scale * weight_scale).view(-1, 1, 1))


@conv2d.register_fake
def _(
    x: Tensor,
    input_scale: Tensor,
    weight_codes: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    bias_scale: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    name: str,
) -> Tensor:
    return F.conv2d(x, weight_codes.float(), None, stride, padding, dilation, groups)


@torch.library.custom_op("genq::linear", mutates_args=())
def linear(
    x: Tensor,
    input_scale: Tensor,
    weight_codes: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    bias_scale: Tensor,
    name: str,
) -> Tensor:
    """x [..., K] on its grid times weight [C, K] transposed -> float32 [..., C]."""
    sums = F.linear(_codes(x, input_scale), weight_codes.double())
    return _rescale(sums, bias, input_scale * weight_scale)


@linear.register_fake
def _(
    x: Tensor,
    input_scale: Tensor,
    weight_codes: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    bias_scale: Tensor,
    name: str,
) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight_codes.shape[0]))


@torch.library.custom_op("genq::matmul", mutates_args=())
def matmul(a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor, name: str) -> Tensor:
    """a [..., M, K] @ b [..., K, N], both on their grids -> float32 [..., M, N]."""
    return (_codes(a, a_scale) @ _codes(b, b_scale)).float() * (a_scale * b_scale)


@matmul.register_fake
def _(a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor, name: str) -> Tensor:
    return a.new_empty((*a.shape[:-1], b.shape[-1]))


def _codes(x: Tensor, scale: Tensor) -> Tensor:
    return torch.round(x / scale).double()


def _rescale(sums: Tensor, bias: Tensor, step: Tensor) -> Tensor:
    if bias.dtype == torch.int32:
        return (sums + bias).float() * step
    return sums.float() * step + bias
