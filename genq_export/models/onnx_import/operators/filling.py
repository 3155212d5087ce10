"""Tensors that are made from numbers alone."""

import torch
from torch import Tensor
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import IMAGES, AsSizes, Value


def constant_of_shape(node: Node) -> Value:
    """One number everywhere; zero where none is given."""
    value = node.attribute("value", torch.zeros(1)).flatten()[0]
    if not node.input(0).known:
        raise node.refuse("its shape depends on pixels")
    filled, dtype = value.item(), value.dtype
    return node.emit(lambda sizes: torch.full(sizes, filled, dtype=dtype), AsSizes(node.input(0)))


def ranged(node: Node) -> Value:
    """From a number to another in steps."""
    if not all(node.input(index).known for index in range(3)):
        raise node.refuse("its bounds depend on pixels")
    dtype = node.input(0).dtype
    bounds = [[node.input(part).tried[index].item() for part in range(3)] for index in range(len(IMAGES))]
    return Value("", tuple(torch.arange(*part, dtype=dtype) for part in bounds), known=True)


def one_hot(node: Node) -> Value:
    """The second of two numbers at the places given, the first elsewhere."""
    depth, axis = int(node.number(1, 0)), int(node.attribute("axis", -1))
    low, high = (float(value) for value in node.fixed(2).tolist())
    dtype = node.input(2).dtype

    def spread(index: Tensor) -> Tensor:
        hot = F.one_hot(torch.where(index < 0, index + depth, index).long(), depth).movedim(-1, axis)
        return torch.where(hot.bool(), high, low).to(dtype)

    return node.emit(spread, node.input(0))


def eye_like(node: Node) -> Value:
    """Ones on a diagonal, in the shape of another tensor."""
    x = node.input(0)
    if node.attribute("k", 0) or x.grows(0):
        raise node.refuse("another diagonal than the main one, or one for each image, is not taken")
    rows, columns = (int(size) for size in x.shape)
    made = torch.eye(rows, columns, dtype=x.dtype)
    return Value("", (made, made), known=True)
