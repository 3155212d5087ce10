"""Zero-points of INT8 weights, all 0, written out for releases of ONNX Runtime before 1.30.

They are the default where nothing is written. But where sums of 8-bit products saturate (x86 without VNNI) a session is
told to make them exact (`session.x64quantprecision`), and these releases end the whole process over weights that have
none. Each has its own: an initializer that two of them share is refused there by later releases, too.
"""

import numpy as np
import onnx_ir as ir


class WriteWeightZeroPoints(ir.passes.InPlacePass):
    """Leaves no DequantizeLinear over a stored INT8 tensor without a zero-point."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add an initializer of zeros, in the shape of the scale, to each."""
        found = [node for node in model.graph if _lacks_zero_point(node)]
        for node in found:
            codes, scale = node.inputs[:2]
            assert codes is not None and scale is not None and scale.const_value is not None
            zeros = np.zeros_like(scale.const_value.numpy(), np.int8)
            zero = ir.Value(name=f"{codes.name}_zero", const_value=ir.tensor(zeros, name=f"{codes.name}_zero"))
            zero.shape, zero.dtype = ir.Shape(zeros.shape), ir.DataType.INT8
            model.graph.register_initializer(zero)
            node.resize_inputs(3)
            node.replace_input_with(2, zero)
        return ir.passes.PassResult(model, modified=bool(found))

    def ensures(self, model: ir.Model) -> None:
        """None lacks one."""
        for node in model.graph:
            if _lacks_zero_point(node):
                raise ir.passes.PostconditionError(f"{node.name} has weights without a zero-point")


def _lacks_zero_point(node: ir.Node) -> bool:
    if node.op_type != "DequantizeLinear" or (len(node.inputs) > 2 and node.inputs[2] is not None):
        return False
    codes = node.inputs[0]
    return codes is not None and codes.const_value is not None and codes.const_value.dtype == ir.DataType.INT8
