"""Weights of 4 bits or fewer stored in 4 bits: INT4 initializer -> Cast(INT8) -> DequantizeLinear.

ONNX Runtime folds the Cast when it loads the file and fuses the same integer kernels as with INT8 weights, so the file
is half as large and nothing is slower.
"""

import ml_dtypes
import numpy as np
import onnx_ir as ir

from genq_export.network.names import weight_codes_tensor, weight_tensor


def store_in_int4(model: ir.Model, layers: list[str]) -> None:
    """Rewrite in place the weight codes of the layers named by path; their codes must lie in [-8, 7]."""
    nodes = {node.outputs[0].name: node for node in model.graph if node.op_type == "DequantizeLinear"}
    for layer in layers:
        dequantize = nodes[weight_tensor(layer)]
        codes = dequantize.inputs[0]
        assert codes is not None and codes.const_value is not None
        dequantize.replace_input_with(0, _packed(model, dequantize, codes.const_value.numpy(), layer))
        if not codes.uses() and codes.name is not None:
            del model.graph.initializers[codes.name]


def _packed(model: ir.Model, reader: ir.Node, codes: np.ndarray, layer: str) -> ir.Value:
    """The codes as an INT4 initializer and a Cast to INT8 in front of `reader`; returns the INT8 value."""
    assert codes.min() >= -8 and codes.max() <= 7, f"{layer} does not fit in 4 bits"
    name = weight_codes_tensor(layer)
    tensor = ir.tensor(codes.astype(ml_dtypes.int4), dtype=ir.DataType.INT4, name=name)
    shape = ir.Shape(codes.shape)
    packed = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT4), shape=shape, const_value=tensor)
    model.graph.register_initializer(packed)
    cast = ir.node("Cast", [packed], {"to": ir.DataType.INT8}, name=f"{name}/Cast")
    cast.outputs[0].name = f"{name}/int8"
    cast.outputs[0].type = ir.TensorType(ir.DataType.INT8)
    cast.outputs[0].shape = shape
    model.graph.insert_before(reader, cast)
    return cast.outputs[0]
