"""Cutting a graph into the blocks that are reconstructed one after the other.

A cut is possible behind every operator where a single tensor is alive: so a residual block is never cut, in any
architecture. Neighbouring pieces that belong to one numbered module (`blocks.3`: the attention half and the MLP half
of a transformer block, the three convolutions of an inverted residual without a shortcut) are joined.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from genq_export.network.aten import (
    NON_NEGATIVE_OPS,
    SHORT_NEGATIVE_TAIL_OPS,
    called_module,
    is_constant,
    module_path,
    op_name,
)
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import kind_of_part


@dataclass(frozen=True)
class Block:
    """A piece of the graph with one tensor in and one out; shares its modules with the whole."""

    name: str
    module: GraphNetwork

    def layers(self) -> list[QuantizedLayer]:
        """Quantized layers, in the order they run."""
        return [part for part in self._called() if isinstance(part, QuantizedLayer)]

    def quantizers(self) -> list[ActivationQuantizer]:
        """Activation quantizers, in the order they run."""
        return [part for part in self._called() if isinstance(part, ActivationQuantizer)]

    def _called(self) -> list[torch.nn.Module]:
        called = (called_module(self.module, node) for node in self.module.graph.nodes)
        return [part for part in called if part is not None]


def split(network: GraphNetwork) -> list[Block]:
    """Blocks in order; running them one after the other is running `network`."""
    groups: list[tuple[str, list[fx.Node]]] = []
    for nodes in _pieces(network.graph):
        key = _block_key(nodes)
        if groups and (key == groups[-1][0] or not _has_layer(network, nodes)):
            groups[-1][1].extend(nodes)
        elif groups and not _has_layer(network, groups[-1][1]):
            groups[-1] = (key, groups[-1][1] + nodes)
        else:
            groups.append((key, nodes))
    return [Block(name, _extract(network, nodes)) for name, nodes in groups]


def _pieces(graph: fx.Graph) -> list[list[fx.Node]]:
    """The finest cut: runs of nodes between points where one tensor is alive."""
    order = [node for node in graph.nodes if node.op not in ("get_attr", "output") and not is_constant(node)]
    position = {node: number for number, node in enumerate(order)}
    last_use = {node: max((position[user] for user in node.users if user in position), default=-1) for node in order}
    pieces: list[list[fx.Node]] = [[]]
    alive: set[fx.Node] = set()
    for number, node in enumerate(order):
        if node.op != "placeholder":
            pieces[-1].append(node)
        alive = {value for value in alive | {node} if last_use[value] > number}
        if alive == {node} and _ends_a_piece(node) and pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _ends_a_piece(node: fx.Node) -> bool:
    """Behind what nothing belongs to any more: behind a concatenation's quantizer, and in front of any other."""
    if _is_quantizer(node):
        return any(op_name(source) == "cat" for source in node.all_input_nodes)
    return not _goes_on(node)


def _is_quantizer(node: fx.Node) -> bool:
    """Does the node call an activation quantizer?"""
    return node.op == "call_module" and kind_of_part(str(node.target)) == "quantizer"


def _goes_on(node: fx.Node) -> bool:
    """Is the next operator an activation function, or the quantizer of a concatenation, that belongs to this one?

    The quantizer shares its scale with what is joined, so both are learned in one block.
    """
    readers = list(node.users)
    if op_name(node) == "cat" and any(_is_quantizer(reader) for reader in readers):
        return True
    return len(readers) == 1 and op_name(readers[0]) in (
        *NON_NEGATIVE_OPS,
        *SHORT_NEGATIVE_TAIL_OPS,
        "hardtanh",
        "clamp",
    )


def _block_key(nodes: list[fx.Node]) -> str:
    """Path of the innermost numbered module that holds all nodes, else the first path among them."""
    paths = [path.split(".") for path in (module_path(node) for node in nodes if not _is_quantizer(node)) if path]
    if not paths:
        return nodes[0].name
    common = paths[0]
    for path in paths[1:]:
        common = common[: next((i for i, (a, b) in enumerate(zip(common, path, strict=False)) if a != b), len(path))]
    while common and not common[-1].isdigit():
        common = common[:-1]
    return ".".join(common or paths[0])


def _has_layer(network: GraphNetwork, nodes: list[fx.Node]) -> bool:
    return any(isinstance(called_module(network, node), QuantizedLayer) for node in nodes)


def _extract(network: GraphNetwork, nodes: list[fx.Node]) -> GraphNetwork:
    """A network over `nodes` that reads the one tensor they take from outside."""
    inside = set(nodes)
    sources = {
        source for node in nodes for source in node.all_input_nodes if source not in inside and not is_constant(source)
    }
    assert len(sources) == 1, f"a block reads {len(sources)} tensors"
    graph = fx.Graph()
    copies = {sources.pop(): graph.placeholder("x")}

    def copy_constant(node: fx.Node) -> fx.Node:
        if node not in copies:
            for source in node.all_input_nodes:
                copy_constant(source)
            copies[node] = graph.node_copy(node, copies.__getitem__)
        return copies[node]

    for node in nodes:
        for source in node.all_input_nodes:
            copy_constant(source)
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[nodes[-1]])
    return network.over(graph)


def run_blocks(blocks: list[Block], x: Tensor) -> Tensor:
    """x [B, C, H, W] through all blocks -> logits."""
    for block in blocks:
        x = block.module(x)
    return x
