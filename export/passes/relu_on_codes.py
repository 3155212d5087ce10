"""A ReLU between a convolution and a grid with negative codes is a lower end of the codes.

    Conv -> Relu -> QuantizeLinear (zero-point 128)      becomes      Conv -> QuantizeLinear -> Clip from 128

which holds the same codes, because rounding is monotone and 0 is on the grid. Such a grid is that of a concatenation
with something else. ONNX Runtime has no integer kernel for the first: it leaves out a ReLU only in front of a grid that
begins at zero.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor

from genq_export.network.names import quantizer_of


class ReluOnCodes(ir.passes.InPlacePass):
    """Take such ReLUs out; for runtimes whose convolutions write codes."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every Conv -> Relu -> QuantizeLinear with a zero-point above the lowest code."""
        changed = False
        for quantize in [node for node in model.graph if node.op_type == "QuantizeLinear"]:
            relu = quantize.inputs[0].producer() if quantize.inputs[0] is not None else None
            zero = _constant(quantize.inputs[2]) if len(quantize.inputs) > 2 else None
            if relu is None or zero is None or zero <= 0 or not _is_fused(relu):
                continue
            quantize.replace_input_with(0, relu.inputs[0])
            _clip_from(model.graph, quantize, int(zero))
            model.graph.remove(relu, safe=True)
            changed = True
        return ir.passes.PassResult(model, modified=changed)


def _is_fused(relu: ir.Node) -> bool:
    """A ReLU of a convolution that the quantizer alone reads."""
    source = relu.inputs[0].producer() if relu.op_type == "Relu" and relu.inputs[0] is not None else None
    return source is not None and source.op_type == "Conv" and len(list(relu.outputs[0].uses())) == 1


def _constant(value: ir.Value | None) -> int | None:
    content = None if value is None else get_const_tensor(value)
    return None if content is None or content.size != 1 else int(content.numpy())


def _clip_from(graph: ir.Graph, quantize: ir.Node, zero: int) -> None:
    """Raise the lower end of the codes to `zero`: of the Clip behind the quantizer, or of a new one."""
    codes = quantize.outputs[0]
    readers = [use.node for use in codes.uses()]
    low = _number(graph, f"{codes.name}/zero", zero)
    if len(readers) == 1 and readers[0].op_type == "Clip":
        readers[0].replace_input_with(1, low)
        return
    name = str(codes.name)
    assert quantizer_of(name) is not None
    high = _number(graph, f"{codes.name}/highest", np.iinfo(np.uint8).max)
    codes.name = f"{name}/unclipped"
    quantize.name = codes.name
    clip = ir.node("Clip", [codes, low, high], name=name)
    clip.outputs[0].name = name
    clip.outputs[0].type, clip.outputs[0].shape = codes.type, codes.shape
    graph.insert_after(quantize, clip)
    for node, position in [(use.node, use.idx) for use in codes.uses()]:
        if node is not clip:
            node.replace_input_with(position, clip.outputs[0])


def _number(graph: ir.Graph, name: str, value: int) -> ir.Value:
    content = ir.tensor(np.array(value, np.uint8), name=name)
    made = ir.Value(name=name, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape(()), const_value=content)
    graph.register_initializer(made)
    return made
