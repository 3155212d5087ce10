"""FP16 for what stays float on TensorRT: LayerNorm, softmax, GELU, gates and the sums that only they read.

Strongly typed networks compute as their file says, so the precision is written into the graph: a Cast to FP16 in front
of such operators, FP16 constants inside, a Cast to FP32 where their results are quantized. Scales, QuantizeLinear and
DequantizeLinear stay FP32: a scale rounded to FP16 would be another grid. Integer layers and what is fused behind them
(bias, ReLU, residual sums of quantized tensors) are left alone.
"""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

_CORE = ("LayerNormalization", "Softmax", "Gelu", "Erf", "Sigmoid", "HardSwish", "HardSigmoid", "Tanh")
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Relu", "Sqrt", "Neg")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


class ComputeRemainderInHalf(ir.passes.InPlacePass):
    """Leaves no quantizer with an FP16 input, and outputs in FP32."""

    def requires(self, model: ir.Model) -> None:
        """Casts are named after the values that they read."""
        if any(not value.name for node in model.graph for value in node.inputs if value is not None):
            raise ir.passes.PreconditionError("a tensor has no name")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Put Casts around the remainder."""
        chosen = _remainder(model.graph)
        halves: dict[str, ir.Value] = {}
        for node in chosen:
            for position, value in enumerate(node.inputs):
                if value is not None and value.producer() not in chosen and value.dtype in (None, ir.DataType.FLOAT):
                    node.replace_input_with(position, _in_half(model.graph, value, node, halves))
        for node in chosen:
            for value in node.outputs:
                value.dtype = ir.DataType.FLOAT16
                _leave_half(model.graph, value, chosen)
        return ir.passes.PassResult(model, modified=bool(chosen))

    def ensures(self, model: ir.Model) -> None:
        """Codes and scales are those of before."""
        for node in model.graph:
            if node.op_type in _QUANTIZERS and any(_is_half(value) for value in node.inputs):
                raise ir.passes.PostconditionError(f"{node.op_type} {node.name} reads FP16")
        if any(map(_is_half, model.graph.outputs)):
            raise ir.passes.PostconditionError("an output is FP16")


def half_operators(graph: ir.Graph) -> int:
    """How many operators of a network compute in FP16."""
    return sum(node.op_type != "Cast" and any(map(_is_half, node.outputs)) for node in graph)


def _is_half(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT16


def _remainder(graph: ir.Graph) -> dict[ir.Node, None]:
    """In the order of the graph. What makes an output of the network is left in FP32."""
    chosen: dict[ir.Node, None] = {}
    for node in graph:
        from_half = any(value is not None and value.producer() in chosen for value in node.inputs)
        elementwise = node.op_type in _ELEMENTWISE and (from_half or _is_float_sum(node))
        answers = any(value.is_graph_output() for value in node.outputs)
        if (node.op_type in _CORE or elementwise) and not (answers or _is_shift(node)):
            chosen[node] = None
    return chosen


def _is_float_sum(node: ir.Node) -> bool:
    """A sum or product of two activations of which not both are quantized."""
    values = [value for value in node.inputs if value is not None and not _is_constant(value)]
    producers = [value.producer() for value in values]
    quantized = [part is not None and part.op_type == "DequantizeLinear" for part in producers]
    return len(values) == 2 and not all(quantized)


def _is_shift(node: ir.Node) -> bool:
    """The sum in front of a quantizer that replaces a zero-point: its codes are exact in FP32 only."""
    return any(value is not None and str(value.name).endswith(".shift") for value in node.inputs)


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    return value.const_value is not None or (producer is not None and producer.op_type == "Constant")


def _in_half(graph: ir.Graph, value: ir.Value, reader: ir.Node, halves: dict[str, ir.Value]) -> ir.Value:
    """`value` in FP16: a constant of its own, or one Cast shared by all readers behind it."""
    name = str(value.name)
    if name not in halves:
        if value.const_value is not None:
            halves[name] = _half_constant(graph, value)
        else:
            halves[name] = _cast(graph, value, ir.DataType.FLOAT16, "half", after=value.producer(), before=reader)
    return halves[name]


def _half_constant(graph: ir.Graph, value: ir.Value) -> ir.Value:
    assert value.const_value is not None
    name = f"{value.name}/half"
    content = ir.tensor(value.const_value.numpy().astype(np.float16), name=name)
    half = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT16), shape=value.shape, const_value=content)
    graph.register_initializer(half)
    return half


def _leave_half(graph: ir.Graph, value: ir.Value, chosen: Collection[ir.Node]) -> None:
    outside = [(node, position) for node, position in value.uses() if node not in chosen]
    if not outside:
        return
    full = _cast(graph, value, ir.DataType.FLOAT, "full", after=value.producer(), before=outside[0][0])
    for node, position in outside:
        node.replace_input_with(position, full)


def _cast(
    graph: ir.Graph, value: ir.Value, kind: ir.DataType, suffix: str, after: ir.Node | None, before: ir.Node
) -> ir.Value:
    name = f"{value.name}/{suffix}"
    node = ir.node("Cast", [value], {"to": kind}, name=name)
    node.outputs[0].name = name
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(kind), value.shape
    if after is None:
        graph.insert_before(before, node)
    else:
        graph.insert_after(after, node)
    return node.outputs[0]
