"""Matrix products: linear layers where one factor is a weight of the file's."""

from typing import Any

import torch
from torch import Tensor, nn

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value


def matmul(node: Node) -> Value:
    """A linear layer for x W, with a bias where `groups` found one; else a product of two tensors."""
    x, other = node.input(0), node.input(1)
    bias = node.input(2) if node.has(2) else None
    if other.weight and other.rank == 2 and x.rank >= 2 and not x.known and (bias is None or bias.weight):
        return _linear(node, x, other.tried[0].t(), None if bias is None else bias.tried[0])
    product = node.emit(torch.matmul, x, other)
    return product if bias is None else node.emit(torch.add, product, bias)


def gemm(node: Node) -> Value:
    """alpha A B + beta C, of which A and B may be transposed."""
    a, b = node.input(0), node.input(1)
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    turned = [bool(node.attribute(name, 0)) for name in ("transA", "transB")]
    c = node.input(2) if node.has(2) and beta else None
    row = c is None or (c.weight and _is_row(c.tried[0], int(b.shape[0 if turned[1] else 1])))
    if b.weight and not a.known and not turned[0] and alpha == 1 and (beta == 1 or c is None) and row:
        weight = b.tried[0] if turned[1] else b.tried[0].t()
        bias = None if c is None else c.tried[0].flatten()
        return _linear(node, a, weight, _expanded(bias, int(weight.shape[0])))
    arguments = [a, b] if c is None else [a, b, c]
    return node.emit(lambda *parts: _general(*parts, turned=turned, alpha=alpha, beta=beta), *arguments)


def einsum(node: Node) -> Value:
    """By its equation."""
    equation = str(node.attribute("equation"))
    return node.emit(lambda *parts: torch.einsum(equation, *parts), *(node.input(i) for i in range(len(node.inputs))))


def _linear(node: Node, x: Value, weight: Tensor, bias: Tensor | None) -> Value:
    """weight: [out, in]."""
    out, inner = weight.shape
    layer = nn.Linear(int(inner), int(out), bias=bias is not None, device="meta")
    layer.weight = _parameter(weight)
    if bias is not None:
        layer.bias = _parameter(bias)
    return node.emit(layer, x, weight=1)


def _parameter(value: Tensor) -> nn.Parameter:
    """What is turned shares the memory of the file's tensor until `load_network` has no more use for that."""
    return value if isinstance(value, nn.Parameter) else nn.Parameter(value.detach())


def _is_row(c: Tensor, columns: int) -> bool:
    return c.numel() in (1, columns) and all(size == 1 for size in c.shape[:-1])


def _expanded(bias: Tensor | None, columns: int) -> Tensor | None:
    return bias if bias is None or bias.shape[0] == columns else bias.expand(columns)


def _general(a: Tensor, b: Tensor, c: Tensor | None = None, *, turned: list[bool], alpha: float, beta: float) -> Any:
    product = torch.matmul(a.t() if turned[0] else a, b.t() if turned[1] else b)
    product = product if alpha == 1 else product * alpha
    return product if c is None else product + (c if beta == 1 else c * beta)
