"""What of a captured graph can be quantized: layers with fixed weights, and products of two activations."""

from collections.abc import Callable

from torch import fx

from genq_export.network.aten import LAYERS, is_constant, op_name

_JOINING = ("cat", "stack")


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


def last_layers(graph: fx.Graph, counts: Callable[[fx.Node], bool] = is_layer) -> list[fx.Node]:
    """The layers that outputs end in, in order: of every output the one that is computed last.

    What a concatenation joins counts as outputs of their own: heads of several scales that become one tensor.

    Args:
        graph: of the network.
        counts: Is this node a layer?
    """
    place = {node: number for number, node in enumerate(graph.nodes)}
    ends: dict[fx.Node, frozenset[fx.Node]] = {}
    for node in graph.nodes:
        parts = [ends[source] for source in node.all_input_nodes]
        if counts(node):
            ends[node] = frozenset((node,))
        elif op_name(node) in _JOINING or node.op == "output":
            ends[node] = frozenset().union(*parts)
        else:
            ends[node] = max(
                parts, key=lambda found: max(map(place.__getitem__, found), default=-1), default=frozenset()
            )
    (output,) = graph.find_nodes(op="output")
    return sorted(ends[output], key=place.__getitem__)
