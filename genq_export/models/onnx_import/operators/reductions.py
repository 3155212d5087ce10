"""Sums, means, extremes along axes, and where these are."""

from collections.abc import Callable

import torch
from torch import Tensor

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value

_Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceProd": lambda x, axes, keep: _product(x, axes, keep).to(x.dtype),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


def reduce(node: Node) -> Value:
    """Over the axes that are given; over all where none is, or over none where the file says so."""
    x, keep = node.input(0), bool(node.attribute("keepdims", 1))
    axes = node.listed("axes", 1)
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            return x
        axes = list(range(x.rank))
    function, chosen = _REDUCTIONS[node.kind], [x.axis(axis) for axis in axes]
    return node.emit(lambda x: function(x, chosen, keep), x) if chosen else x


def arg_extreme(node: Node) -> Value:
    """The place of the largest or the smallest number along an axis."""
    axis, keep = int(node.attribute("axis", 0)), bool(node.attribute("keepdims", 1))
    if node.attribute("select_last_index", 0):
        raise node.refuse("select_last_index is not taken")
    function = torch.argmax if node.kind == "ArgMax" else torch.argmin
    return node.emit(lambda x: function(x, axis, keepdim=keep), node.input(0))


def cumulative_sum(node: Node) -> Value:
    """The sum of all numbers before and at each place."""
    if node.attribute("exclusive", 0) or node.attribute("reverse", 0):
        raise node.refuse("exclusive and reverse sums are not taken")
    axis = node.integers(1)[0]
    return node.emit(lambda x: x.cumsum(axis, dtype=x.dtype), node.input(0))


def top_k(node: Node) -> list[Value]:
    """The k largest or smallest numbers along an axis, and their places."""
    k, axis = node.integers(1)[0], int(node.attribute("axis", -1))
    largest = bool(node.attribute("largest", 1))
    return node.emit_many(lambda x: tuple(torch.topk(x, k, axis, largest)), [node.input(0)], 2)
