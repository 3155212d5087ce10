"""Weights of 4 bits or fewer stored in 4 bits: INT4 initializer -> Cast(INT8) -> DequantizeLinear.

ONNX Runtime folds the Cast when it loads the file and fuses the same integer kernels as with INT8 weights, so the file
is half as large and nothing is slower.
"""

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import onnx_ir as ir

from genq_export.network.names import weight_codes_tensor, weight_tensor


class StoreInInt4(ir.passes.InPlacePass):
    """Needs weight codes of the layers, named by path, in [-8, 7]; leaves no INT8 initializer of them."""

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        self._layers = tuple(layers)

    def requires(self, model: ir.Model) -> None:
        """Codes of the layers are in the file, and they fit."""
        found = self._dequantizers(model)
        if self._layers and not found:
            raise ir.passes.PreconditionError(f"{self._layers[0]} has no weight codes in the file")
        for layer, node in found.items():
            codes = node.inputs[0].const_value if node.inputs[0] is not None else None
            if codes is None or codes.numpy().min() < -8 or codes.numpy().max() > 7:
                raise ir.passes.PreconditionError(f"{layer} has no weight codes in the file that fit in 4 bits")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Store the codes anew, with a Cast in front of their reader."""
        for layer, node in self._dequantizers(model).items():
            assert node.inputs[0] is not None
            codes = node.inputs[0]
            node.replace_input_with(0, _packed(model, node, codes, layer))
            if not codes.uses() and codes.name is not None:
                del model.graph.initializers[codes.name]
        return ir.passes.PassResult(model, modified=bool(self._layers))

    def ensures(self, model: ir.Model) -> None:
        """What the quantizer reads is what was there before."""
        for layer, node in self._dequantizers(model).items():
            cast = node.inputs[0].producer() if node.inputs[0] is not None else None
            if cast is None or cast.op_type != "Cast":
                raise ir.passes.PostconditionError(f"{layer} is not stored in 4 bits")

    def _dequantizers(self, model: ir.Model) -> dict[str, ir.Node]:
        """By layer; of layers with one weight (tied, or one called twice) the exporter leaves a single one."""
        nodes = {node.outputs[0].name: node for node in model.graph if node.op_type == "DequantizeLinear"}
        named = {layer: nodes.get(weight_tensor(layer)) for layer in self._layers}
        return {layer: node for layer, node in named.items() if node is not None}


def _packed(model: ir.Model, reader: ir.Node, value: ir.Value, layer: str) -> ir.Value:
    """The codes as an INT4 initializer and a Cast to INT8 in front of `reader`; returns the INT8 value."""
    assert value.const_value is not None
    codes: np.ndarray = value.const_value.numpy()
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
