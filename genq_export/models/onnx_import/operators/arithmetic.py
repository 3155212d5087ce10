"""Operators on the elements of one tensor or of several that broadcast."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value, number

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal, "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round,
    "Sign": torch.sign, "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin,
    "Acos": torch.acos, "Atan": torch.atan, "Sinh": torch.sinh, "Cosh": torch.cosh, "Erf": torch.erf,
    "Not": torch.logical_not, "IsNaN": torch.isnan,
}  # fmt: skip
_BINARY: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Equal": torch.eq, "Less": torch.lt, "Greater": torch.gt,
    "LessOrEqual": torch.le, "GreaterOrEqual": torch.ge, "And": torch.logical_and, "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}  # fmt: skip
_MIRRORED: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "Add": torch.add,
    "Mul": torch.mul,
    "Sub": lambda x, value: value - x,
    "Div": lambda x, value: value / x,
    "Pow": lambda x, value: value**x,
}
TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32, TensorProto.DOUBLE: torch.float64, TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32, TensorProto.INT16: torch.int16, TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8, TensorProto.BOOL: torch.bool, TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
}  # fmt: skip


def unary(node: Node) -> Value:
    """One tensor."""
    return node.emit(_UNARY[node.kind], node.input(0))


def binary(node: Node) -> Value:
    """Two tensors; what is one number of the file's is a number here, too."""
    a, b = node.input(0), node.input(1)
    function = _function(node, a)
    if _is_number(b, beside=a):
        value = number(b)
        return node.emit(lambda x: function(x, value), a)
    if _is_number(a, beside=b) and node.kind in _MIRRORED and b.dtype.is_floating_point:
        value, mirrored = number(a), _MIRRORED[node.kind]
        return node.emit(lambda x: mirrored(x, value), b)
    return node.emit(function, a, b)


def _function(node: Node, a: Value) -> Callable[..., Tensor]:
    if node.kind == "Div":
        whole = not a.dtype.is_floating_point
        return _whole_quotient if whole else torch.div
    if node.kind == "Pow":
        return _power
    return _BINARY[node.kind]


def _whole_quotient(a: Tensor, b: Any) -> Tensor:
    return torch.div(a, b, rounding_mode="trunc")


def _power(a: Tensor, b: Any) -> Tensor:
    """Of the type of the base."""
    return torch.pow(a, b) if not isinstance(b, Tensor) else torch.pow(a, b).to(a.dtype)


def _is_number(value: Value, beside: Value) -> bool:
    """Does it hold one number of the file's that is no weight, beside a tensor that is computed?"""
    one = value.fixed and not value.weight and value.tried[0].numel() == 1
    return one and not beside.known and value.rank <= beside.rank


def variadic(node: Node) -> Value:
    """Max, Min, Sum and Mean of any number of tensors."""
    function = {"Max": torch.maximum, "Min": torch.minimum}.get(node.kind, torch.add)
    parts = [node.input(index) for index in range(len(node.inputs))]
    total = functools.reduce(lambda a, b: node.emit(function, a, b), parts)
    if node.kind != "Mean" or len(parts) == 1:
        return total
    count = len(parts)
    return node.emit(lambda x: x / count, total)


def mod(node: Node) -> Value:
    """The remainder, of the sign of the divisor, or of the dividend as C's fmod has it."""
    return node.emit(torch.fmod if node.attribute("fmod", 0) else torch.remainder, node.input(0), node.input(1))


def where(node: Node) -> Value:
    """One or the other, by a condition."""
    return node.emit(torch.where, node.input(0), node.input(1), node.input(2))


def cast(node: Node) -> Value:
    """To another type."""
    return _cast(node, TYPES.get(int(node.attribute("to"))))


def cast_like(node: Node) -> Value:
    """To the type of another tensor."""
    return _cast(node, node.input(1).dtype)


def _cast(node: Node, dtype: torch.dtype | None) -> Value:
    x = node.input(0)
    if dtype is None:
        raise node.refuse(
            f"a cast to {TensorProto.DataType.Name(int(node.attribute('to'))).lower()} is not taken: export in float32"
        )
    return x if x.dtype == dtype else node.emit(lambda x: x.to(dtype), x, moves=True)
