"""What of a captured graph can be quantized: layers with fixed weights, and products of two activations."""

from torch import fx

from genq_export.network.aten import LAYERS, is_constant, op_name


def layers_of(graph: fx.Graph) -> list[fx.Node]:
    """Convolutions and linear layers with fixed weights, in order."""
    return [node for node in graph.nodes if is_layer(node)]


def products_of(graph: fx.Graph) -> list[fx.Node]:
    """Products of two activations, in order."""
    return [node for node in graph.nodes if op_name(node) == "matmul" and not has_constant(node)]


def is_layer(node: fx.Node) -> bool:
    """A convolution or linear layer with a fixed weight."""
    weight = node.args[1] if op_name(node) in LAYERS else None
    return isinstance(weight, fx.Node) and weight.op == "get_attr"


def has_constant(node: fx.Node) -> bool:
    """Is one of the two operands fixed?"""
    return any(is_constant(source) for source in node.args[:2])
