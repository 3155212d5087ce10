"""Operators that have an equal in convolutions, linear layers and matrix products are written as these.

Only these are computed in integers, so everything that multiplies has to become one of them before anything is placed:

    attention in one operator       two products and a softmax
    einsum of two tensors           permutations, reshapes and a product
    mm, bmm, addmm, baddbmm         products, sums
    a product with a fixed matrix   a linear layer; with several, a convolution in groups
    conv1d                          conv2d over an image of height 1
    conv3d with a flat kernel       conv2d over more images
    conv_transpose1d, 2d            conv2d with a channel for every place between two pixels (transposed_convolutions)
    conv2d with mixed weights       conv2d with all of them, then the mixture (mixed_weights)

Other rewrites are for what no grid holds or what an exporter or a runtime computes otherwise (pooling).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from genq_export.network.aten import NON_NEGATIVE_OPS, SHORT_NEGATIVE_TAIL_OPS, is_constant, op_name
from genq_export.quantization.mixed_weights import conv2d_of_mixed_weights
from genq_export.quantization.pooling import avg_pool2d, max_pool2d
from genq_export.quantization.transposed_convolutions import (
    conv_transpose1d,
    conv_transpose2d,
    fold_norm_behind_transposed,
    in_front_of_moves,
)
from genq_export.quantization.writer import Writer, per_axis

_aten = torch.ops.aten


_Rewrite = Callable[..., fx.Node | None]


def decompose(gm: fx.GraphModule) -> None:
    """Rewrite the graph in place; what has no such form stays as it is."""
    for rewrites in _ROUNDS:
        for node in list(gm.graph.nodes):
            rewrite = rewrites.get(op_name(node))
            if rewrite is None:
                continue
            with gm.graph.inserting_before(node):
                result = rewrite(Writer(gm, node), **_named_arguments(node))
            if result is not None:
                node.replace_all_uses_with(result)
                gm.graph.erase_node(node)


def _named_arguments(node: fx.Node) -> dict[str, Any]:
    """What is given, by the names of the operator's schema."""
    names = [part.name for part in node.target._schema.arguments]  # type: ignore[union-attr]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _attention(
    write: Writer,
    query: fx.Node,
    key: fx.Node,
    value: fx.Node,
    attn_mask: fx.Node | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> fx.Node:
    """softmax(q k^T * scale + mask) v; scale: 1 / sqrt(d) where none is given."""
    if enable_gqa:
        groups = write.shape(query)[-3] // write.shape(key)[-3]
        key, value = (write(_aten.repeat_interleave.self_int, part, groups, -3) for part in (key, value))
    width = write.shape(query)[-1]
    scores = write(_aten.matmul.default, query, write(_aten.transpose.int, key, -2, -1))
    scores = write(_aten.mul.Tensor, scores, 1 / math.sqrt(width) if scale is None else scale)
    if is_causal:
        rows, columns = write.shape(query)[-2], write.shape(key)[-2]
        attn_mask = write(_aten.tril.default, write(_aten.full.default, [rows, columns], True, dtype=torch.bool))
    if attn_mask is not None and write.value(attn_mask).dtype == torch.bool:
        scores = write(_aten.masked_fill.Scalar, scores, write(_aten.logical_not.default, attn_mask), -math.inf)
    elif attn_mask is not None:
        scores = write(_aten.add.Tensor, scores, attn_mask)
    return write(_aten.matmul.default, write(_aten.softmax.int, scores, -1), value)


def _einsum(write: Writer, equation: str, tensors: list[fx.Node], path: object = None) -> fx.Node | None:
    """Two tensors, every index once in each: [shared, rows, inner] times [shared, inner, columns]."""
    inputs, _, result = equation.replace(" ", "").partition("->")
    if len(tensors) != 2 or "." in inputs or "->" not in equation:
        return None
    left, right = inputs.split(",")
    shared = [index for index in result if index in left and index in right]
    inner = [index for index in left if index in right and index not in result]
    rows = [index for index in result if index in left and index not in right]
    columns = [index for index in result if index in right and index not in left]
    once = all(len(set(part)) == len(part) for part in (left, right, result))
    complete = len(left) == len(shared + rows + inner) and len(right) == len(shared + inner + columns)
    if not (inner and once and complete):
        return None
    sizes = dict(zip(left + right, write.shape(tensors[0]) + write.shape(tensors[1]), strict=True))
    outer = [sizes[index] for index in shared]
    a = _arranged(write, tensors[0], left, shared + rows + inner)
    b = _arranged(write, tensors[1], right, shared + inner + columns)
    a = _reshaped(write, a, [*outer, _product(sizes, rows), _product(sizes, inner)])
    b = _reshaped(write, b, [*outer, _product(sizes, inner), _product(sizes, columns)])
    product = write(_aten.matmul.default, a, b)
    product = _reshaped(write, product, [*outer, *(sizes[index] for index in rows + columns)])
    return _arranged(write, product, "".join(shared + rows + columns), list(result))


def _product(sizes: dict[str, int], indices: list[str]) -> int:
    found = [sizes[index] for index in indices]
    return -1 if -1 in found else math.prod(found)


def _arranged(write: Writer, node: fx.Node, indices: str, wanted: list[str]) -> fx.Node:
    order = [indices.index(index) for index in wanted]
    return node if order == sorted(order) else write(_aten.permute.default, node, order)


def _reshaped(write: Writer, node: fx.Node, shape: list[int]) -> fx.Node:
    return node if write.shape(node) == shape else write(_aten.reshape.default, node, shape)


def _mm(write: Writer, self: fx.Node, mat2: fx.Node) -> fx.Node:
    return write(_aten.matmul.default, self, mat2)


def _addmm(write: Writer, self: fx.Node, mat1: fx.Node, mat2: fx.Node, beta: float = 1, alpha: float = 1) -> fx.Node:
    """alpha * a b + beta * c; a linear layer with its bias where b is fixed and c is one number a column."""
    if beta == alpha == 1 and is_constant(mat2) and is_constant(self) and len(write.shape(self)) == 1:
        return write(_aten.linear.default, mat1, write(_aten.t.default, mat2), self)
    return _baddbmm(write, self, mat1, mat2, beta, alpha)


def _baddbmm(
    write: Writer, self: fx.Node, batch1: fx.Node, batch2: fx.Node, beta: float = 1, alpha: float = 1
) -> fx.Node:
    product = write(_aten.matmul.default, batch1, batch2)
    if alpha != 1:
        product = write(_aten.mul.Tensor, product, alpha)
    if beta == 0:
        return product
    added = self if beta == 1 else write(_aten.mul.Tensor, self, beta)
    return write(_aten.add.Tensor, product, added)


def _matmul(write: Writer, self: fx.Node, other: fx.Node) -> fx.Node | None:
    """x w = linear(x, w^T), and w x = linear(x^T, w)^T, for a fixed matrix w; convolutions for several of them."""
    if is_constant(self) == is_constant(other):
        return None
    weight = other if is_constant(other) else self
    if len(write.shape(self)) < 2 or len(write.shape(other)) < 2:
        return None
    if len(write.shape(weight)) > 2:
        return _matmul_with_several(write, self, other)
    if weight is other:
        return write(_aten.linear.default, self, write(_aten.t.default, weight))
    turned = write(_aten.linear.default, write(_aten.transpose.int, other, -2, -1), weight)
    return write(_aten.transpose.int, turned, -2, -1)


def _matmul_with_several(write: Writer, self: fx.Node, other: fx.Node) -> fx.Node | None:
    """w_g x_g for fixed matrices w_g, one a place of axes that x has too: a convolution in groups, a pixel a column.

    x [L..., G..., K, N] is an image [L, G K, N, 1] to filters [G M, K, 1, 1]; x w is (w^T x^T)^T.
    """
    if is_constant(other):
        columns, weight = (write(_aten.transpose.int, part, -2, -1) for part in (self, other))
        product = _matmul_with_several(write, weight, columns)
        return None if product is None else write(_aten.transpose.int, product, -2, -1)
    sizes, fixed = write.shape(other), write.shape(self)
    own = next((place for place, size in enumerate(fixed[:-2]) if size != 1), len(fixed) - 2)
    groups = sizes[len(sizes) - len(fixed) + own : -2] if len(fixed) <= len(sizes) else [-1]
    leading, (rows, inner), columns_of_x = sizes[: len(sizes) - 2 - len(groups)], fixed[-2:], sizes[-1]
    count = math.prod(groups)
    several = [math.prod(leading), columns_of_x]
    if -1 in groups or sum(-1 in part for part in (leading, [columns_of_x])) > 1:
        return None
    images, pixels = (-1 if size < 0 else size for size in several)
    filters = write(_aten.expand.default, self, [*[1] * own, *groups, rows, inner])
    filters = write(_aten.reshape.default, filters, [count * rows, inner, 1, 1])
    x = write(_aten.reshape.default, other, [images, count * inner, pixels, 1])
    product = write(_aten.conv2d.default, x, filters, None, [1, 1], [0, 0], [1, 1], count)
    return write(_aten.reshape.default, product, [*leading, *groups, rows, columns_of_x])


def _linear(write: Writer, input: fx.Node, weight: fx.Node, bias: fx.Node | None = None) -> fx.Node | None:
    """A layer over a constant that is repeated for every image is computed once: the layer itself becomes constant."""
    if op_name(input) != "expand" or not is_constant(input.args[0]) or not is_constant(weight):
        return None
    source, sizes = input.args[:2]
    assert isinstance(source, fx.Node) and isinstance(sizes, list | tuple)
    before, after = write.shape(source), write.shape(input)
    if len(before) != len(after) or before[0] != 1 or before[1:] != after[1:]:
        return None
    once = write(_aten.linear.default, source, weight, bias)
    return write(_aten.expand.default, once, [sizes[0], *[-1] * (len(before) - 1)])


def _conv1d(
    write: Writer,
    input: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Any = (1,),
    padding: Any = (0,),
    dilation: Any = (1,),
    groups: int = 1,
) -> fx.Node | None:
    """[B, C, L] as [B, C, 1, L]."""
    if len(write.shape(input)) != 3:
        return None
    stride, dilation = ([1, *per_axis(part, 1)] for part in (stride, dilation))
    image, kernel = (write(_aten.unsqueeze.default, part, 2) for part in (input, weight))
    if isinstance(padding, str):
        result = write(_aten.conv2d.padding, image, kernel, bias, stride, padding, dilation, groups)
    else:
        result = write(_aten.conv2d.default, image, kernel, bias, stride, [0, *per_axis(padding, 1)], dilation, groups)
    return write(_aten.squeeze.dim, result, 2)


def _conv3d(
    write: Writer,
    input: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Any = (1,),
    padding: Any = (0,),
    dilation: Any = (1,),
    groups: int = 1,
) -> fx.Node | None:
    """A kernel of size 1 along one axis takes the places along it one by one: they are images of their own."""
    sizes, kernel = write.shape(input), write.shape(weight)
    if len(sizes) != 5 or -1 in sizes[1:] or isinstance(padding, str):
        return None
    geometry = [per_axis(part, 3) for part in (stride, padding, dilation)]
    flat = [axis for axis in range(3) if kernel[2 + axis] == 1 and geometry[0][axis] == 1 and geometry[1][axis] == 0]
    if not flat:
        return None
    axis = flat[-1]
    others = [part for part in range(3) if part != axis]
    images = write(_aten.permute.default, input, [0, 2 + axis, 1, *(2 + part for part in others)])
    images = write(_aten.reshape.default, images, [-1, sizes[1], *(sizes[2 + part] for part in others)])
    stride, padding, dilation = ([part[other] for other in others] for part in geometry)
    filters = write(_aten.squeeze.dim, weight, 2 + axis)
    result = write(_aten.conv2d.default, images, filters, bias, stride, padding, dilation, groups)
    result = write(_aten.reshape.default, result, [-1, sizes[2 + axis], *write.shape(result)[1:]])
    back = [0, 2, 0, 0, 0]
    for place, part in enumerate((axis, *others)):
        back[2 + part] = 1 if place == 0 else 2 + place
    return write(_aten.permute.default, result, back)


def _turned(write: Writer, self: fx.Node) -> fx.Node:
    """`x.mT`, `x.adjoint()` of real numbers: the last two axes in each other's place."""
    return write(_aten.transpose.int, self, -2, -1)


_NORMS: dict[str, _Rewrite] = {"batch_norm": fold_norm_behind_transposed}
_FIRST: dict[str, _Rewrite] = {
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    "mT": _turned,
    "mH": _turned,
    "adjoint": _turned,
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "conv1d": _conv1d,
    "conv3d": _conv3d,
    "conv_transpose1d": conv_transpose1d,
    "conv_transpose2d": conv_transpose2d,
    "avg_pool2d": avg_pool2d,
    "max_pool2d": max_pool2d,
}
_ACTIVATIONS: dict[str, _Rewrite] = dict.fromkeys((*NON_NEGATIVE_OPS, *SHORT_NEGATIVE_TAIL_OPS), in_front_of_moves)
_ROUNDS: tuple[dict[str, _Rewrite], ...] = (
    _NORMS,
    _FIRST,
    {"matmul": _matmul},
    {"linear": _linear, "conv2d": conv2d_of_mixed_weights, **_ACTIVATIONS},
)
