"""Cutting a piece of the graph in which several tensors are alive everywhere: branches, and what is joined much later.

Where no single tensor holds all that the rest needs (HRNet's resolutions, CrossViT's branches, the many inputs of a
DenseNet's concatenations), several cross: flattened and side by side, as one tensor [B, numbers].
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from genq_export.network.aten import called_module, is_constant, op_name
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.interpreter import GraphNetwork

MOST_LAYERS = 20  # [ours] more than any block of one tensor has in the networks of docs/families.md
_aten = torch.ops.aten


@dataclass(frozen=True)
class Piece:
    """Nodes of the graph, the tensors that they are given, and those that are needed behind them, their own first."""

    nodes: list[fx.Node]
    given: list[fx.Node]
    gives: list[fx.Node]


def divided(
    network: GraphNetwork,
    nodes: list[fx.Node],
    source: fx.Node,
    may_end: Callable[[fx.Node], bool],
    ends: Sequence[fx.Node] = (),
) -> list[Piece]:
    """Cut `nodes` until no piece has more than `MOST_LAYERS` layers, or nothing can be cut.

    Args:
        nodes: in order; they read `source`, and only the last, or `ends`, are read from outside.
        may_end: may a piece end with this node?
        ends: the network's outputs, where `nodes` are the last.
    """
    cuts = _Cuts(network, nodes, source, may_end).chosen(0, len(nodes))
    given, pieces, start = [source], [], 0
    for stop, alive in [*cuts, (len(nodes), list(ends) or [nodes[-1]])]:
        inside = set(nodes[start:stop])
        gives = sorted(alive, key=lambda node: node not in inside)
        pieces.append(Piece(nodes[start:stop], given, gives))
        given, start = gives, stop
    return pieces


class _Cuts:
    """Where `nodes` may be cut, and what crosses there."""

    def __init__(
        self, network: GraphNetwork, nodes: list[fx.Node], source: fx.Node, may_end: Callable[[fx.Node], bool]
    ) -> None:
        self._layers = [0]
        for node in nodes:
            self._layers.append(self._layers[-1] + isinstance(called_module(network, node), QuantizedLayer))
        self._crossing: dict[int, list[fx.Node]] = {}
        if self._layers[-1] > MOST_LAYERS:
            self._find(nodes, source, may_end, _inside_shared_scales(network, nodes))

    def _find(
        self, nodes: list[fx.Node], source: fx.Node, may_end: Callable[[fx.Node], bool], forbidden: set[int]
    ) -> None:
        place = {node: number for number, node in enumerate(nodes, 1)}
        last_use = {node: max((place.get(user, 0) for user in node.users), default=0) for node in (source, *nodes)}
        last_use |= {node: len(nodes) + 1 for node in last_use if is_output(node)}
        alive: dict[fx.Node, None] = {source: None}
        for number, node in enumerate(nodes, 1):
            alive = {part: None for part in (*alive, node) if last_use[part] > number}
            crossing = [part for part in alive if not is_batch_size(part)]
            if may_end(node) and number not in forbidden and all(map(numbers_of, crossing)) and crossing:
                self._crossing[number] = crossing

    def chosen(self, start: int, stop: int) -> list[tuple[int, list[fx.Node]]]:
        """Cuts between two places: where the fewest numbers cross, away from the ends if that can be."""
        first, last = self._layers[start], self._layers[stop]
        places = [place for place in self._crossing if first < self._layers[place] < last and start < place < stop]
        if last - first <= MOST_LAYERS or not places:
            return []
        quarter = (last - first) / 4
        middle = [place for place in places if first + quarter <= self._layers[place] <= last - quarter]
        best = min(middle or places, key=lambda place: sum(map(numbers_of, self._crossing[place])))
        return [*self.chosen(start, best), (best, self._crossing[best]), *self.chosen(best, stop)]


def _inside_shared_scales(network: GraphNetwork, nodes: list[fx.Node]) -> set[int]:
    """Places between quantizers of one scale, which is learned once."""
    places: dict[ActivationQuantizer, list[int]] = {}
    for number, node in enumerate(nodes, 1):
        part = called_module(network, node)
        if isinstance(part, ActivationQuantizer):
            places.setdefault(part.leader, []).append(number)
    return {place for found in places.values() for place in range(min(found), max(found))}


def is_output(node: fx.Node) -> bool:
    """Does the network give this, so that it is needed to the end?"""
    return any(user.op == "output" for user in node.users)


def is_batch_size(node: fx.Node) -> bool:
    """Is this the number of images, or computed from it and fixed numbers: what every block can ask of its input?"""
    if op_name(node) == "sym_size":
        source: Any = node.args[0]
        return bool(node.args[1] == 0) and _images_in(source) == 1
    value = node.meta.get("val")
    integers = isinstance(value, torch.SymInt) and not isinstance(node.target, torch._ops.OpOverload)
    return integers and all(is_constant(part) or is_batch_size(part) for part in node.all_input_nodes)


def numbers_of(node: fx.Node) -> int:
    """Numbers an image in a tensor whose first axis counts the images, or parts of them; 0 where it is none."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return 0
    rest = value.shape[1:]
    return _images_in(node) * math.prod(rest) if all(isinstance(size, int) for size in rest) else 0


def _images_in(node: fx.Node) -> int:
    """Rows of a tensor for one image; 0 where the number of rows is no multiple of the number of images."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.dim() or not isinstance(value.shape[0], torch.SymInt):
        return 0
    (images,) = node.graph.find_nodes(op="placeholder")
    rows = value.shape[0].node.expr / images.meta["val"].shape[0].node.expr
    return int(rows) if rows.is_Integer else 0


def channels_of(nodes: Sequence[fx.Node]) -> int:
    """Channels of tensors together, by the second axis."""
    return sum(node.meta["val"].shape[1] if node.meta["val"].dim() > 1 else 1 for node in nodes)


def unpack(graph: fx.Graph, packed: fx.Node, nodes: Sequence[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Nodes of a new graph for each of the tensors that lie side by side in `packed`."""
    found, start = {}, 0
    for node in nodes:
        stop = start + numbers_of(node)
        flat = graph.call_function(_aten.slice.Tensor, (packed, 1, start, stop))
        found[node] = graph.call_function(_aten.reshape.default, (flat, [-1, *node.meta["val"].shape[1:]]))
        start = stop
    return found


def pack(graph: fx.Graph, copies: dict[fx.Node, fx.Node], nodes: Sequence[fx.Node]) -> fx.Node:
    """A node of a new graph for tensors side by side; copies: by what they are in the old one."""
    flat = [graph.call_function(_aten.reshape.default, (copies[node], [-1, numbers_of(node)])) for node in nodes]
    return graph.call_function(_aten.cat.default, (flat, 1))
