"""The same operators in the lowest opset that has them, for runtimes that are older than the newest ONNX.

From one version of an operator to an older one: attributes that the older has not are left out where they say what it
does anyway; what became an input (the axes of reductions, in opset 18) becomes an attribute again.
"""

import onnx
import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

# Before opset 13 quantizers have no axis.
LOWEST = 13


class LowerOpset(ir.passes.InPlacePass):
    """Leaves the operators as they are where no older version of all of them says the same."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite attributes and inputs, and declare the opset."""
        ShapeInferencePass()(model)  # types decide which version takes a node
        nodes = list(model.graph.all_nodes())
        version = max((_lowest_version(node, model.opset_imports[""]) for node in nodes), default=LOWEST)
        for node in nodes:
            _rewrite(node, _schema(node, version))
        model.opset_imports[""] = version
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Every operator exists, and has no attribute or input that it does not know."""
        for node in model.graph.all_nodes():
            if not _fits(node, model.opset_imports[""]):
                raise ir.passes.PostconditionError(f"{node.op_type} {node.name} is not of this opset")


def _lowest_version(node: ir.Node, highest: int) -> int:
    return next((version for version in range(LOWEST, highest) if _fits(node, version)), highest)


def _schema(node: ir.Node, version: int) -> onnx.defs.OpSchema | None:
    """The operator in an opset; None where that has none of this name."""
    try:
        return onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None


def _fits(node: ir.Node, version: int) -> bool:
    """Can the node be said in the words of an opset?"""
    schema = _schema(node, version)
    if schema is None or schema.deprecated or len(node.outputs) > schema.max_output:
        return False
    foreign = [attribute for name, attribute in node.attributes.items() if name not in schema.attributes]
    if not all(_says_nothing(node, attribute) for attribute in foreign):
        return False
    fitting = len(node.inputs) <= schema.max_input or _has_axes_to_move(node, schema)
    return fitting and all(map(_takes, _formal_inputs(schema, len(node.inputs)), node.inputs))


def _says_nothing(node: ir.Node, attribute: ir.Attr) -> bool:
    """Is the value what newer versions of the operator have by default, or does it come to the same?"""
    if attribute.name == "allowzero":
        sizes = None if node.inputs[1] is None else get_const_tensor(node.inputs[1])
        return attribute.value == 0 or (sizes is not None and bool(sizes.numpy().all()))
    known = onnx.defs.get_schema(node.op_type, node.domain).attributes.get(attribute.name)
    default = known.default_value if known is not None else None
    if default is None or not default.name:
        return False
    return bool(onnx.helper.get_attribute_value(default) == attribute.value)


def _has_axes_to_move(node: ir.Node, schema: onnx.defs.OpSchema) -> bool:
    """Is the one input too many the constant axes of a reduction, which were an attribute?"""
    axes = node.inputs[-1]
    moved = len(node.inputs) == schema.max_input + 1 and "axes" in schema.attributes
    return moved and (axes is None or get_const_tensor(axes) is not None)


def _formal_inputs(schema: onnx.defs.OpSchema, count: int) -> list[onnx.defs.OpSchema.FormalParameter]:
    """One for each input; the last one stands for all that follow."""
    formal = list(schema.inputs)
    return formal[:count] + formal[-1:] * (min(count, schema.max_input) - len(formal))


def _takes(formal: onnx.defs.OpSchema.FormalParameter, value: ir.Value | None) -> bool:
    return value is None or value.dtype is None or f"tensor({value.dtype.name.lower()})" in formal.types


def _rewrite(node: ir.Node, schema: onnx.defs.OpSchema | None) -> None:
    assert schema is not None
    for name in [name for name in node.attributes if name not in schema.attributes]:
        node.attributes.pop(name)
    if len(node.inputs) > schema.max_input:
        axes = node.inputs[-1]
        content = None if axes is None else get_const_tensor(axes)
        node.resize_inputs(schema.max_input)
        if content is not None:
            node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in content.numpy().reshape(-1)])
