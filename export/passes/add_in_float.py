"""A residual addition of float numbers, where a runtime would take its terms apart.

    DequantizeLinear -> Add      becomes      DequantizeLinear -> Max (with the lowest float32) -> Add

The Max changes no number. OpenVINO moves a scale past an addition: of y + q * s it makes (y * (1 / s) + q) * s, which
rounds to another float32, and so to another code now and then. It does not look through a Max. [ours]
"""

import numpy as np
import onnx_ir as ir

from export.passes.move_codes import on_the_way

_LOWEST = "lowest_number"


class AddInFloat(ir.passes.InPlacePass):
    """Keep scales on their side of every addition."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Put a Max in front of each term of an Add that comes from a DequantizeLinear, past what moves numbers."""
        changed = False
        for addition in [node for node in model.graph if node.op_type == "Add"]:
            for position, term in enumerate(addition.inputs):
                if term is not None and _has_scale(term):
                    addition.replace_input_with(position, _behind_max(model.graph, addition, position, term))
                    changed = True
        return ir.passes.PassResult(model, modified=changed)


def _has_scale(term: ir.Value) -> bool:
    """Does a DequantizeLinear of codes make it?"""
    moves = list(on_the_way(term))
    sources = [value.producer() for node in moves for value in node.inputs[:1] if value is not None]
    return any(node is not None and node.op_type == "DequantizeLinear" for node in [term.producer(), *sources])


def _behind_max(graph: ir.Graph, addition: ir.Node, position: int, term: ir.Value) -> ir.Value:
    name = f"{addition.outputs[0].name}/term_{position}"
    node = ir.node("Max", [term, _lowest(graph)], name=name)
    node.outputs[0].name = name
    node.outputs[0].type, node.outputs[0].shape = term.type, term.shape
    graph.insert_before(addition, node)
    return node.outputs[0]


def _lowest(graph: ir.Graph) -> ir.Value:
    if _LOWEST in graph.initializers:
        return graph.initializers[_LOWEST]
    content = ir.tensor(np.array(np.finfo(np.float32).min, np.float32), name=_LOWEST)
    made = ir.Value(name=_LOWEST, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(()), const_value=content)
    graph.register_initializer(made)
    return made
