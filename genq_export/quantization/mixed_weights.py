"""Convolutions whose weights are a mixture of fixed ones, another for every image (Yang et al. 2019, "CondConv", arXiv
1904.04971): what they give is the mixture of what the fixed ones give.

    conv(x, sum_e r_e W_e) = sum_e r_e conv(x, W_e)

An integer kernel takes fixed weights alone, so all of them are computed, as one convolution, and mixed behind it.
"""

from typing import Any

import torch
from torch import fx

from genq_export.network.aten import is_constant, op_name
from genq_export.quantization.writer import Writer

_aten = torch.ops.aten


def conv2d_of_mixed_weights(
    write: Writer,
    input: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: Any = 1,
) -> fx.Node | None:
    """conv2d(x as [1, B C, H, W], (r W) as [B O, I, kh, kw], groups a number an image) -> [1, B O, H', W'].

    r: [B, E], W: [E, O I kh kw], a linear layer by now.
    """
    mixture, x = _behind_reshapes(weight), _behind_reshapes(input)
    if bias is not None or op_name(mixture) != "linear" or len(mixture.args) > 2 or len(write.shape(x)) != 4:
        return None
    shares, experts = mixture.args[:2]
    if not isinstance(shares, fx.Node) or not isinstance(experts, fx.Node) or not is_constant(experts):
        return None
    by_image = write.shape(x)[0] == -1 and write.shape(input)[0] == 1 and isinstance(groups, fx.Node)
    if not by_image or len(write.shape(shares)) != 2 or write.shape(x)[2:] != write.shape(input)[2:]:
        return None
    channels, (_, inner, *kernel) = write.shape(x)[1], write.shape(weight)
    count = write.shape(shares)[1]
    per_image = channels // inner  # groups of one image
    outputs = write.shape(experts)[0] // (inner * kernel[0] * kernel[1])
    if outputs % per_image:
        return None
    filters = write(_aten.t.default, experts)
    filters = write(_aten.reshape.default, filters, [count, per_image, outputs // per_image, inner, *kernel])
    filters = write(_aten.permute.default, filters, [1, 0, 2, 3, 4, 5])
    filters = write(_aten.reshape.default, filters, [count * outputs, inner, *kernel])
    given = write(_aten.conv2d.default, x, filters, None, stride, padding, dilation, per_image)
    height, width = write.shape(given)[2:]
    parts = write(_aten.reshape.default, given, [-1, per_image, count, outputs // per_image, height, width])
    weights = write(_aten.reshape.default, shares, [-1, 1, count, 1, 1, 1])
    mixed = write(_aten.sum.dim_IntList, write(_aten.mul.Tensor, parts, weights), [2])
    return write(_aten.reshape.default, mixed, [1, -1, height, width])


def _behind_reshapes(node: fx.Node) -> fx.Node:
    while op_name(node) in ("reshape", "view", "_unsafe_view"):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node = source
    return node
