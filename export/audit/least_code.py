"""Weights of -128: what ONNX Runtime multiplies wrong on ARM64 where two lie side by side (docs/numerics.md)."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.audit.graph import LAYERS, input_of, name_of, producer_of

_INTEGER = ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm")
_MOVING = ("Transpose", "Reshape", "Identity")
_LEAST = -128


def note_of_least_codes(model: ir.Model) -> str | None:
    """One sentence with the number of layers, and what to do; None where there is no such weight."""
    count = len(layers_with_least_code(model))
    if count == 0:
        return None
    layers = "1 layer has" if count == 1 else f"{count} layers have"
    return (
        f"{layers} weights of the code -128, which ONNX Runtime multiplies wrong on ARM64 where two lie side by side:"
        " quantize weights to -127...127 for it (symmetric, narrow range)"
    )


def layers_with_least_code(model: ir.Model) -> list[str]:
    """Names of the layers that read an INT8 weight with the code -128."""
    layers = [node for node in model.graph.all_nodes() if node.op_type in (*LAYERS, *_INTEGER)]
    return [name_of(node) for node in layers if any(_has_least_code(value) for value in node.inputs)]


def _has_least_code(value: ir.Value | None) -> bool:
    codes = _codes(value)
    # Zero-points, which are -128 often, are no weights.
    return codes is not None and codes.ndim > 1 and codes.dtype == np.int8 and bool((codes == _LEAST).any())


def _codes(value: ir.Value | None) -> NDArray[Any] | None:
    """Constant codes that a layer's input is made of; None without any."""
    node = producer_of(value)
    if node is None or node.op_type == "Constant":
        return _constant(value)
    if node.op_type == "QuantizeLinear":
        return _rounded(node)
    return _codes(node.inputs[0]) if node.op_type in (*_MOVING, "DequantizeLinear") else None


def _rounded(node: ir.Node) -> NDArray[Any] | None:
    """Float weights whose quantizer is in the file: their codes; None for activations."""
    numbers, scale, zero = (_constant(input_of(node, position)) for position in range(3))
    if numbers is None or scale is None or zero is None or zero.dtype != np.int8:
        return None
    shape = [1] * numbers.ndim
    if scale.size > 1:
        axis = node.attributes.get_int("axis", 1)
        if scale.size != numbers.shape[axis]:  # of blocks
            return None
        shape[axis] = -1
    steps = np.rint(numbers / scale.reshape(shape)) + zero.astype(np.int64).reshape(shape if zero.size > 1 else [])
    codes: NDArray[Any] = steps.clip(-128, 127).astype(np.int8)
    return codes


def _constant(value: ir.Value | None) -> NDArray[Any] | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype not in (ir.DataType.INT8, ir.DataType.FLOAT):
        return None
    return tensor.numpy()
