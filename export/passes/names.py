"""Names that people recognise: the exporter renames what a translation returns, and leaves traces of this machine."""

from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from genq_export.network.names import dequantized_tensor, layer_of_weight, quantizer_of

# Where a translation leaves the name of a product, which has no weight to be named after.
NAME_PROPERTY = "genq.name"
_LAYERS = ("Conv", "Gemm", "MatMul")


class NameAfterModules(ir.passes.InPlacePass):
    """Layers after the module that they are (`conv1`), quantizers after theirs (`act1/dequantized`), each name once.

    Reads `NAME_PROPERTY`, so it comes before `StripMetadata`.

    Args:
        kept: paths of layers that stay in float on purpose, by what their weights are called.
    """

    def __init__(self, kept: Mapping[str, str]) -> None:
        super().__init__()
        self._kept = kept

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename nodes and the tensors that dequantizers make."""
        for node in model.graph:
            if NAME_PROPERTY in node.metadata_props:
                node.name = node.metadata_props[NAME_PROPERTY]
            elif node.op_type in _LAYERS:
                node.name = layer_of_weight(_first_named(node)) or self._kept.get(_weight_name(node), node.name)
            elif node.op_type == "DequantizeLinear":
                quantizer = quantizer_of(str(node.inputs[0].name)) if node.inputs[0] is not None else None
                if quantizer is not None:
                    node.name = dequantized_tensor(quantizer)
                    if node.outputs[0] not in model.graph.outputs:  # whose names are the network's own
                        node.outputs[0].name = node.name
        _number_repeated(model.graph)
        return ir.passes.PassResult(model, modified=True)


class StripMetadata(ir.passes.InPlacePass):
    """Drop stack traces and paths that the exporter leaves in the file."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Clear what onnx-ir's own pass clears, and the model and its values, which that leaves."""
        ClearMetadataAndDocStringPass()(model)
        model.metadata_props.clear()
        model.graph.metadata_props.clear()
        model.doc_string = model.graph.doc_string = None
        for value in _values(model.graph):
            value.metadata_props.clear()
            value.doc_string = None
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Nothing is told of the machine that exported the file."""
        told: list[ir.Model | ir.Graph | ir.Node | ir.Value] = [model, model.graph, *model.graph.all_nodes()]
        told += _values(model.graph)
        if any(part.metadata_props or part.doc_string for part in told):
            raise ir.passes.PostconditionError("metadata is left in the file")


def _number_repeated(graph: ir.Graph) -> None:
    """The runtime refuses a file in which two nodes have one name; whoever comes later gets a number behind it."""
    taken = {node.name for node in graph}
    seen: set[str] = set()
    for node in graph:
        name, number = node.name, 2
        if name and name in seen:
            while f"{node.name}_{number}" in taken:
                number += 1
            node.name = f"{node.name}_{number}"
            taken.add(node.name)
        seen.add(node.name or "")


def _values(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph.all_nodes() for value in node.outputs]
    return [*graph.inputs, *graph.outputs, *graph.initializers.values(), *made]


def _first_named(node: ir.Node) -> str:
    """Name of the weight, or else of the input, of a layer."""
    return next((value.name for value in reversed(node.inputs[:2]) if value is not None and value.name), "")


def _weight_name(node: ir.Node) -> str:
    """Name of the weight that a float layer multiplies by; MatMul reads it through a Transpose."""
    weight = node.inputs[1]
    producer = weight.producer() if weight is not None else None
    if producer is not None and producer.op_type == "Transpose":
        weight = producer.inputs[0]
    return str(weight.name) if weight is not None else ""
