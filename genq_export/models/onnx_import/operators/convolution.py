"""Convolutions and transposed convolutions of one to three spatial axes."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.operators.windows import Windows, pad_sides
from genq_export.models.onnx_import.values import Value

_CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_CONV_FUNCTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def conv(node: Node) -> Value:
    """A layer with the file's weight; a function of a weight that is computed."""
    x, weight = node.input(0), node.input(1)
    windows = Windows.of(node, x, [int(size) for size in weight.shape[2:]])
    groups = int(node.attribute("group", 1))
    if windows.symmetric:
        padding = windows.before
    else:
        x, padding = pad_sides(node, x, windows.before, windows.after), [0] * windows.rank
    geometry = {"stride": windows.stride, "padding": padding, "dilation": windows.dilation, "groups": groups}
    biased = node.has(2)
    if not weight.weight or (biased and not node.input(2).weight):
        function = _CONV_FUNCTIONS[windows.rank]
        rest = [node.input(2)] if biased else []
        return node.emit(lambda x, w, b=None: function(x, w, b, **geometry), x, weight, *rest)
    out, inner = weight.shape[:2]
    layer = _CONV[windows.rank](inner * groups, out, windows.kernel, bias=biased, device="meta", **geometry)
    return _with_weights(node, layer, x)


def conv_transpose(node: Node) -> Value:
    """A layer, and a slice where what is cut off differs between the two sides."""
    x, weight = node.input(0), node.input(1)
    kernel = [int(size) for size in weight.shape[2:]]
    rank, groups = len(kernel), int(node.attribute("group", 1))
    stride = [int(step) for step in node.attribute("strides", [1] * rank)]
    dilation = [int(step) for step in node.attribute("dilations", [1] * rank)]
    extra = [int(size) for size in node.attribute("output_padding", [0] * rank)]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    whole = [s * (int(n) - 1) + e + k for s, n, e, k in zip(stride, x.shape[2:], extra, spans, strict=True)]
    before, after = _cut_off(node, whole, [int(n) * s for n, s in zip(x.shape[2:], stride, strict=True)])
    if not weight.weight or (node.has(2) and not node.input(2).weight):
        raise node.refuse("its weight is computed, not stored in the file")
    symmetric = before == after
    layer = _TRANSPOSED[rank](
        int(weight.shape[0]), int(weight.shape[1]) * groups, kernel, stride, before if symmetric else 0, extra, groups,
        node.has(2), dilation, device="meta",
    )  # fmt: skip
    result = _with_weights(node, layer, x)
    if symmetric:
        return result
    parts = (slice(None), slice(None), *(slice(a, w - b) for a, b, w in zip(before, after, whole, strict=True)))
    return node.emit(lambda y: y[parts], result)


def _cut_off(node: Node, whole: list[int], same: list[int]) -> tuple[list[int], list[int]]:
    """How much of what is computed is no part of the result, before and behind it on every axis."""
    rank, pads, mode = len(whole), node.attribute("pads"), node.attribute("auto_pad", "NOTSET")
    wanted = node.attribute("output_shape") or (same if mode.startswith("SAME") else None)
    if wanted is None:
        pads = [int(size) for size in pads or [0] * (2 * rank)]
        return pads[:rank], pads[rank:]
    total = [max(w - int(size), 0) for w, size in zip(whole, wanted[-rank:], strict=True)]
    smaller, larger = [size // 2 for size in total], [size - size // 2 for size in total]
    return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)


def _with_weights(node: Node, layer: nn.Module, x: Value) -> Value:
    parameters = [value.tried[0] for value in node.inputs[1:3] if value is not None]
    for name, value in zip(("weight", "bias"), parameters, strict=False):
        kept = value.flatten() if name == "bias" else value
        setattr(layer, name, value if kept.shape == value.shape else nn.Parameter(torch.clone(kept)))
    return node.emit(layer, x, weight=1)
