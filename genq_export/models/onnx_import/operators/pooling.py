"""Pooling over windows and over whole images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.operators.windows import Windows, pad_sides, sides_of
from genq_export.models.onnx_import.values import Value

_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(node: Node) -> Value:
    """The padding counts for nothing.

    Padding that torch's operator cannot do repeats the edge: every window that reaches over an edge holds it.
    """
    x, windows = node.input(0), _windows(node)
    half = all(2 * pad <= size for pad, size in zip(windows.before, windows.kernel, strict=True))
    padding = windows.before
    if not windows.symmetric or not half:
        x, padding = _widened(node, x, windows), [0] * windows.rank
    pool, kernel, stride, dilation = _MAX[windows.rank], windows.kernel, windows.stride, windows.dilation
    return node.emit(lambda x: pool(x, kernel, stride, padding, dilation), x)


def _widened(node: Node, x: Value, windows: Windows) -> Value:
    sides = (*windows.before, *windows.behind)
    holds_edge = all(side < size for side, size in zip(sides, windows.kernel * 2, strict=True))
    if holds_edge and all(step == 1 for step in windows.dilation):
        return pad_sides(node, x, windows.before, windows.behind, mode="replicate")
    return pad_sides(node, x, windows.before, windows.behind, float("-inf"))


def average_pool(node: Node) -> Value:
    """Over the numbers inside; over the padding, too, where the node counts it."""
    x, windows = node.input(0), _windows(node)
    counts = bool(node.attribute("count_include_pad", 0))
    if any(step != 1 for step in windows.dilation):
        raise node.refuse("dilations are not taken")
    pool, kernel, stride = _AVERAGE[windows.rank], windows.kernel, windows.stride
    half = all(2 * pad <= size for pad, size in zip(windows.before, kernel, strict=True))
    if windows.symmetric and half:
        padding = windows.before
        return node.emit(lambda x: pool(x, kernel, stride, padding, False, counts), x)
    sums = pad_sides(node, x, windows.before, windows.behind)
    mean = node.emit(lambda x: pool(x, kernel, stride), sums)
    factor = _inverse_share(x, windows, counts)
    if bool((factor == 1).all()):
        return mean
    return node.emit(lambda x, factor: x * factor, mean, Value("", (factor, factor), known=True))


def _inverse_share(x: Value, windows: Windows, counts: bool) -> Tensor:
    """By what the mean over a whole window is too small, for every place: [1, 1, *spatial]."""
    inside = torch.ones(1, 1, *(int(size) for size in x.shape[2:]))
    sides = sides_of(windows.before, windows.after)
    counted = F.pad(inside, sides, value=1.0 if counts else 0.0)
    counted = F.pad(counted, sides_of([0] * windows.rank, windows.beyond))
    share: Tensor = _AVERAGE[windows.rank](counted, windows.kernel, windows.stride)
    return 1 / share


def global_average_pool(node: Node) -> Value:
    """[B, C, *spatial] -> [B, C, 1, ...]"""
    axes = list(range(2, node.input(0).rank))
    return node.emit(lambda x: x.mean(axes, keepdim=True), node.input(0))


def global_max_pool(node: Node) -> Value:
    """[B, C, *spatial] -> [B, C, 1, ...]"""
    axes = list(range(2, node.input(0).rank))
    return node.emit(lambda x: x.amax(axes, keepdim=True), node.input(0))


def _windows(node: Node) -> Windows:
    return Windows.of(node, node.input(0), [int(size) for size in node.attribute("kernel_shape")])
