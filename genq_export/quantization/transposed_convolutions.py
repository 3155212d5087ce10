"""Transposed convolutions as convolutions, which runtimes compute in integers.

With stride s, the outputs between two inputs fall into s phases an axis, and each is a convolution of the input with
every s-th weight (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?", arXiv 1609.07009):

    y[s m + a - p] = sum_j w[a + s j] x[m - j],    a = 0 .. s - 1,    j = 0 .. ceil(k / s) - 1

So one convolution with s^2 times the channels computes all of them, with no zero in between, and a pixel shuffle (for
strides that differ: a reshape, a permutation and a reshape) puts them in their places.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from genq_export.network.aten import is_constant, op_name
from genq_export.quantization.writer import Writer, per_axis

_aten = torch.ops.aten
_PLACING = (["pixel_shuffle"], ["reshape", "permute", "reshape"])


def conv_transpose2d(
    write: Writer,
    input: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Any = (1,),
    padding: Any = (0,),
    output_padding: Any = (0,),
    groups: int = 1,
    dilation: Any = (1,),
) -> fx.Node | None:
    """input [B, Cin, H, W], weight [Cin, C / groups, kh, kw] -> [B, C, H', W']."""
    stride, padding, further, dilation = (per_axis(part, 2) for part in (stride, padding, output_padding, dilation))
    sizes = write.shape(input)
    if len(sizes) != 4 or -1 in sizes[1:] or not is_constant(weight):
        return None
    if any(more > less for more, less in zip(further, padding, strict=True)):
        return None  # rows that no weight reaches
    kernel = [step * (size - 1) + 1 for step, size in zip(dilation, write.shape(weight)[2:], strict=True)]
    taps = [-(-size // step) for size, step in zip(kernel, stride, strict=True)]
    filters = _filters(write, _spread(write, weight, dilation), stride, taps, groups)
    channels = write.shape(weight)[1] * groups
    offsets = None if bias is None else write(_aten.repeat_interleave.self_int, bias, stride[0] * stride[1], 0)
    outer = [size - 1 for size in taps]
    phases = write(_aten.conv2d.default, input, filters, offsets, [1, 1], outer, [1, 1], groups)
    result = _placed(write, phases, channels, stride)
    for axis in (0, 1):
        length = (sizes[2 + axis] - 1) * stride[axis] - 2 * padding[axis] + kernel[axis] + further[axis]
        if padding[axis] or length != write.shape(result)[2 + axis]:
            result = write(_aten.slice.Tensor, result, 2 + axis, padding[axis], padding[axis] + length)
    return result


def _placed(write: Writer, phases: fx.Node, channels: int, stride: Sequence[int]) -> fx.Node:
    """[B, C sh sw, H, W] -> [B, C, H sh, W sw]."""
    if stride[0] == stride[1]:
        return phases if stride[0] == 1 else write(_aten.pixel_shuffle.default, phases, stride[0])
    height, width = write.shape(phases)[2:]
    result = write(_aten.reshape.default, phases, [-1, channels, *stride, height, width])
    result = write(_aten.permute.default, result, [0, 1, 4, 2, 5, 3])
    return write(_aten.reshape.default, result, [-1, channels, height * stride[0], width * stride[1]])


def conv_transpose1d(
    write: Writer,
    input: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Any = (1,),
    padding: Any = (0,),
    output_padding: Any = (0,),
    groups: int = 1,
    dilation: Any = (1,),
) -> fx.Node | None:
    """[B, C, L] as [B, C, 1, L]."""
    if len(write.shape(input)) != 3:
        return None
    image, kernel = (write(_aten.unsqueeze.default, part, 2) for part in (input, weight))
    stride, dilation = ([1, *per_axis(part, 1)] for part in (stride, dilation))
    padding, output_padding = ([0, *per_axis(part, 1)] for part in (padding, output_padding))
    result = conv_transpose2d(write, image, kernel, bias, stride, padding, output_padding, groups, dilation)
    return None if result is None else write(_aten.squeeze.dim, result, 2)


def _spread(write: Writer, weight: fx.Node, dilation: Sequence[int]) -> fx.Node:
    """The weights of a dilated kernel with zeros between them."""
    for axis, step in enumerate(dilation):
        if step > 1:
            sizes = write.shape(weight)
            weight = write(_aten.unsqueeze.default, weight, 3 + axis)
            weight = write(_aten.constant_pad_nd.default, weight, [0, 0] * (1 - axis) + [0, step - 1])
            sizes[2 + axis] *= step
            weight = write(_aten.reshape.default, weight, sizes)
            weight = write(_aten.slice.Tensor, weight, 2 + axis, 0, sizes[2 + axis] - step + 1)
    return weight


def _filters(write: Writer, weight: fx.Node, stride: Sequence[int], taps: Sequence[int], groups: int) -> fx.Node:
    """[Cin, C / groups, kh, kw] -> [C sh sw, Cin / groups, th, tw]: w[a + s j] at tap j from the end."""
    inputs, outputs, *kernel = write.shape(weight)
    missing = [step * tap - size for step, tap, size in zip(stride, taps, kernel, strict=True)]
    weight = write(_aten.constant_pad_nd.default, weight, [0, missing[1], 0, missing[0]])
    inner = inputs // groups
    weight = write(_aten.reshape.default, weight, [groups, inner, outputs, taps[0], stride[0], taps[1], stride[1]])
    weight = write(_aten.permute.default, weight, [0, 2, 4, 6, 1, 3, 5])
    weight = write(_aten.reshape.default, weight, [groups * outputs * stride[0] * stride[1], inner, *taps])
    return write(_aten.flip.default, weight, [2, 3])


def fold_norm_behind_transposed(
    write: Writer,
    input: fx.Node,
    weight: fx.Node | None,
    bias: fx.Node | None,
    running_mean: fx.Node | None,
    running_var: fx.Node | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> fx.Node | None:
    """A BatchNorm behind a transposed convolution becomes part of its weights, as behind a convolution."""
    if op_name(input) not in ("conv_transpose1d", "conv_transpose2d") or len(input.users) != 1:
        return None
    if running_mean is None or running_var is None or not is_constant(input.args[1]):
        return None
    arguments = {part.name: value for part, value in zip(input.target._schema.arguments, input.args, strict=False)}  # type: ignore[union-attr]
    arguments |= input.kwargs
    factor = write(_aten.rsqrt.default, write(_aten.add.Tensor, running_var, eps))
    factor = factor if weight is None else write(_aten.mul.Tensor, factor, weight)
    before = arguments.get("bias")
    shift = write(_aten.neg.default, running_mean) if before is None else write(_aten.sub.Tensor, before, running_mean)
    shift = write(_aten.mul.Tensor, shift, factor)
    kernel: Any = arguments["weight"]
    groups = int(arguments.get("groups", 1))  # type: ignore[arg-type]
    inputs, outputs, *rest = write.shape(kernel)
    rows = write(
        _aten.repeat_interleave.self_int, write(_aten.reshape.default, factor, [groups, outputs]), inputs // groups, 0
    )
    rows = write(_aten.reshape.default, rows, [inputs, outputs, *[1] * len(rest)])
    arguments["weight"] = write(_aten.mul.Tensor, kernel, rows)
    arguments["bias"] = shift if bias is None else write(_aten.add.Tensor, shift, bias)
    return write(input.target, **arguments)


def in_front_of_moves(write: Writer, **arguments: Any) -> fx.Node | None:
    """An activation function behind what puts a convolution's phases in their places goes in front: it fuses there."""
    source = write.node.args[0]
    moves: list[fx.Node] = []
    while isinstance(source, fx.Node) and op_name(source) in _PLACING[0] + _PLACING[1] and len(source.users) == 1:
        moves.append(source)
        source = source.args[0]
    is_alone = isinstance(source, fx.Node) and op_name(source) == "conv2d" and len(source.users) == 1
    if not is_alone or [op_name(move) for move in moves] not in _PLACING:
        return None
    result = write(write.node.target, source, *write.node.args[1:], **write.node.kwargs)
    for move in reversed(moves):
        result = write(move.target, result, *move.args[1:])
    return result
