"""Cutting a graph into the blocks that are reconstructed one after the other.

A cut is possible behind every operator where a single tensor is alive: so a residual block is never cut, in any
architecture. Neighbouring pieces that belong to one numbered module (`blocks.3`: the attention half and the MLP half
of a transformer block, the three convolutions of an inverted residual without a shortcut) are joined. What is then
too large, because several tensors are alive all along, is cut where few numbers are (`large_blocks`).
"""

import math
from collections.abc import Mapping
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
from genq_export.network.outputs import Answer
from genq_export.quantization.large_blocks import Piece, channels_of, divided, is_output, numbers_of, pack, unpack


@dataclass(frozen=True)
class Block:
    """A piece of the graph with one tensor in and one out; shares its modules with the whole.

    own, own_channels: where several tensors cross as one, the numbers an image in it that the block computed itself,
    which come first, and their channels; None: all of it. outputs: of the last block of a network that gives tensors by
    name, their names and shapes without the batch, as they lie side by side.
    """

    name: str
    module: GraphNetwork
    own: int | None = None
    own_channels: int | None = None
    outputs: tuple[tuple[str, tuple[int, ...]], ...] | None = None

    def computed(self, x: Tensor) -> Tensor:
        """The part of what the block gives that it computed itself; the rest is handed on."""
        return x if self.own is None else x[:, : self.own]

    def channels(self, x: Tensor) -> int:
        """How many channels that part of x has."""
        return x.shape[1] if self.own_channels is None else self.own_channels

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
    taken: set[str] = set()
    outputs = _outputs(network.graph)
    return [
        _block(network, piece, _unused(_block_key(piece.nodes) if len(pieces) > 1 else name, taken), outputs)
        for name, nodes in groups
        for ends in [list(outputs) if nodes is groups[-1][1] else []]
        for pieces in [divided(network, nodes, _source(nodes), _ends_a_piece, ends)]
        for piece in pieces
    ]


def _outputs(graph: fx.Graph) -> dict[fx.Node, str]:
    """Names of the outputs by node; none where the network gives logits alone."""
    (output,) = graph.find_nodes(op="output")
    given = output.args[0]
    return {} if isinstance(given, fx.Node) else {node: name for name, node in given.items()}


def _unused(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where another block has it."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _source(nodes: list[fx.Node]) -> fx.Node:
    """The one tensor that `nodes` read from outside."""
    inside = set(nodes)
    sources = {
        source for node in nodes for source in node.all_input_nodes if source not in inside and not is_constant(source)
    }
    assert len(sources) == 1, f"a block reads {len(sources)} tensors"
    return sources.pop()


def _pieces(graph: fx.Graph) -> list[list[fx.Node]]:
    """The finest cut: runs of nodes between points where one tensor is alive."""
    order = [node for node in graph.nodes if node.op not in ("get_attr", "output") and not is_constant(node)]
    position = {node: number for number, node in enumerate(order)}
    last_use = {node: max((position[user] for user in node.users if user in position), default=-1) for node in order}
    last_use |= {node: len(order) for node in order if is_output(node)}
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


def _block(network: GraphNetwork, piece: Piece, name: str, outputs: Mapping[fx.Node, str]) -> Block:
    """A network over the nodes of a piece that reads the one tensor that it is given. outputs: of the whole."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    copies = {piece.given[0]: x} if len(piece.given) == 1 else unpack(graph, x, piece.given)

    def copy(node: fx.Node) -> None:
        if node in copies:
            return
        if op_name(node) == "sym_size" and node.args[0] not in copies:
            copies[node] = graph.call_function(torch.ops.aten.sym_size.int, (x, 0))
            return
        for source in node.all_input_nodes:
            copy(source)
        copies[node] = graph.node_copy(node, copies.__getitem__)

    for node in piece.nodes:
        copy(node)
    named = tuple((outputs[node], tuple(node.meta["val"].shape[1:])) for node in piece.gives if node in outputs)
    given = named if outputs.keys() == {*piece.gives} else None
    if len(piece.gives) == 1:
        graph.output(copies[piece.gives[0]])
        return Block(name, network.over(graph), outputs=given)
    graph.output(pack(graph, copies, piece.gives))
    own = [node for node in piece.gives if node in set(piece.nodes)]
    return Block(name, network.over(graph), sum(map(numbers_of, own)), channels_of(own), given)


def run_blocks(blocks: list[Block], x: Tensor) -> Answer:
    """x [B, C, H, W] through all blocks -> what the network gives."""
    for block in blocks:
        x = block.module(x)
    return answer_of(blocks[-1], x)


def answer_of(block: Block, x: Tensor) -> Answer:
    """What the last block gives, as the network gives it."""
    if block.outputs is None:
        return x
    if len(block.outputs) == 1:
        return {block.outputs[0][0]: x}
    sizes = [math.prod(shape) for _, shape in block.outputs]
    parts = x.split(sizes, 1)
    return {name: part.reshape(-1, *shape) for (name, shape), part in zip(block.outputs, parts, strict=True)}
