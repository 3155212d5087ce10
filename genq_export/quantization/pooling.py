"""Pooling that an exporter or a runtime computes otherwise, written in a form that all of them compute alike."""

import math
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from genq_export.network.aten import op_name
from genq_export.quantization.writer import Writer, per_axis

_aten = torch.ops.aten


def avg_pool2d(
    write: Writer,
    self: fx.Node,
    kernel_size: list[int],
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> fx.Node | None:
    """The mean over what lies inside, times what the divisor makes of it at each place.

    ONNX has no divisor of one's own, and ONNX Runtime counts differently beyond the edge where it also rounds up.
    """
    rounds_up = ceil_mode and count_include_pad
    size = write.shape(self)[-2:]
    if (divisor_override is None and not rounds_up) or -1 in size:
        return None
    geometry = (kernel_size, stride, padding, ceil_mode)
    factor = F.avg_pool2d(torch.ones(1, 1, *size), *geometry, count_include_pad, divisor_override)
    mean = write(_aten.avg_pool2d.default, self, *geometry, False)
    if (factor == 1).all():
        return mean
    if (factor == factor.flatten()[0]).all():
        return write(_aten.mul.Tensor, mean, float(factor.flatten()[0]))
    return write(_aten.mul.Tensor, mean, write.constant("divisors", factor))


def max_pool2d(
    write: Writer,
    self: fx.Node,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> fx.Node | None:
    """Of an image padded with -inf, which no grid holds: padded by the operator itself, or with what is at the edge.

    The edge in the place of -inf changes no maximum: a window that reaches beyond it holds it, too, as long as it is
    wider than what was added.
    """
    sides = _infinite_sides(self)
    kernel, own, step = (per_axis(part, 2) for part in (kernel_size, padding, dilation))
    if sides is None or ceil_mode or step != [1, 1]:
        return None
    (left, right, top, bottom), source = sides, self.args[0]
    width = [max(top, bottom) + own[0], max(left, right) + own[1]]
    if any(added >= size for added, size in zip(width, kernel, strict=True)):
        return None
    if (left, top) == (right, bottom) and all(2 * added <= size for added, size in zip(width, kernel, strict=True)):
        return write(_aten.max_pool2d.default, source, kernel, stride, width)
    padded = write(_aten.pad.default, source, [left, right, top, bottom], "replicate")
    return write(_aten.max_pool2d.default, padded, kernel, stride, own)


def _infinite_sides(node: fx.Node) -> tuple[int, ...] | None:
    """Left, right, top and bottom of a padding with -inf; None for anything else."""
    if op_name(node) not in ("pad", "constant_pad_nd"):
        return None
    given = {part.name: value for part, value in zip(node.target._schema.arguments, node.args, strict=False)}  # type: ignore[union-attr]
    given |= node.kwargs
    sides: Any = given["pad"]
    plain = all(isinstance(side, int) and side >= 0 for side in sides)
    if given.get("value") != -math.inf or len(sides) != 4 or not plain:
        return None
    return tuple(sides)
