"""The program of an integer model that takes images of other heights and widths, for torch's ONNX exporter.

The exporter would read sizes inside the network off the tensors there. A layer whose output something else reads beside
its quantizer is not fused, so every such size is computed from the sizes of the input: torch knows each as a formula.
"""

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import onnx_ir as ir
import torch
from torch import fx
from torch.export import ExportedProgram

from genq_export.core.errors import UserError, reason_of
from genq_export.network.aten import op_name
from genq_export.network.free_size import FreeSize
from genq_export.network.interpreter import GraphNetwork

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Mul": operator.mul,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "Mod": operator.mod,
    "PythonMod": operator.mod,
}
_LARGER = 8 * 32  # pixels: no size inside is 1, which torch would take for one that is always 1


def sized_program(network: GraphNetwork, free_size: FreeSize) -> ExportedProgram:
    """Trace a network for images of free size.

    Raises:
        UserError: where an operator takes one size alone.
    """
    channels, height, width = free_size.calibrated
    example = torch.zeros(2, channels, height + _LARGER * free_size.height, width + _LARGER * free_size.width)
    free = (True, False, free_size.height, free_size.width)
    try:
        program = torch.export.export(
            network,
            (example,),
            dynamic_shapes=({axis: torch.export.Dim.DYNAMIC for axis, is_free in enumerate(free) if is_free},),
            prefer_deferred_runtime_asserts_over_guards=True,  # sizes that have to be equal are, in steps of `step`
        )
    except Exception as error:  # of torch's tracing, which has no public base class
        raise UserError(f"--dynamic-size: the integer model takes one size alone: {reason_of(error)}") from error
    _sizes_from_the_input(program.graph_module)
    return program


def name_axes(model: ir.Model, free_size: FreeSize) -> None:
    """Call the free axes of the input what they are, and those of outputs nothing that no runtime could check."""
    (images,) = model.graph.inputs
    channels, height, width = free_size.calibrated
    axes = ("batch", channels, "height" if free_size.height else height, "width" if free_size.width else width)
    images.shape = ir.Shape(axes)
    for output in model.graph.outputs:
        if output.shape is not None and len(output.shape):
            sizes = [size if isinstance(size, int) else None for size in output.shape]
            output.shape = ir.Shape(["batch", *sizes[1:]])


def _sizes_from_the_input(gm: fx.GraphModule) -> None:
    images = [node for node in gm.graph.find_nodes(op="placeholder") if isinstance(_value(node), torch.Tensor)][-1]
    inner = [node for node in gm.graph.nodes if op_name(node) == "sym_size" and node.args[0] is not images]
    if not inner:
        return
    with gm.graph.inserting_after(images):
        known = {
            str(size.node.expr): gm.graph.call_function(torch.ops.aten.sym_size.int, (images, axis))
            for axis, size in enumerate(_value(images).shape)
            if isinstance(size, torch.SymInt)
        }
    for node in known.values():
        node.meta["val"] = _value(images).shape[node.args[1]]
    for node in inner:
        size = _value(node)
        with gm.graph.inserting_before(node):
            made = size if isinstance(size, int) else _computed(gm.graph, size.node.expr, known)
        node.replace_all_uses_with(made)
        gm.graph.erase_node(node)
    gm.graph.eliminate_dead_code()
    gm.recompile()


def _computed(graph: fx.Graph, formula: Any, known: Mapping[str, fx.Node]) -> Any:
    """Nodes that compute a formula of torch's over sizes of the input."""
    if str(formula) in known:
        return known[str(formula)]
    if formula.is_Integer:
        return int(formula)
    function = _OPERATORS.get(type(formula).__name__)
    if function is None:
        raise UserError(f"--dynamic-size: a size inside is {formula}, which no file can say: leave it out")
    return reduce(
        lambda left, right: _called(graph, function, left, right),
        (_computed(graph, part, known) for part in formula.args),
    )


def _called(graph: fx.Graph, function: Callable[[Any, Any], Any], left: Any, right: Any) -> fx.Node:
    node = graph.call_function(function, (left, right))
    node.meta["val"] = function(*(part.meta["val"] if isinstance(part, fx.Node) else part for part in (left, right)))
    return node


def _value(node: fx.Node) -> Any:
    return node.meta.get("val")
