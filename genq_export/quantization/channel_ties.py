"""Which channels of which tensors of a float graph would have to be scaled by one factor, if they were scaled.

A convolution or linear layer ties nothing: its rows and columns take up any factors of what it makes and reads. An
operator that commutes with a positive factor a channel ties what it reads to what it makes. Every other operator, the
network's input and its outputs are fixed at the factor 1, and so is all that is tied to them. A multiplication with a
constant a channel ties nothing either, where it is there to take up factors.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from genq_export.network.aten import op_name

FIXED = 0  # the set of channels whose factor is 1
_IMAGE, _VECTOR = 4, 2  # axes of the tensors that are looked at; the second is the channel
_COMMUTES = ("relu", "leaky_relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "upsample_nearest2d",
             "upsample_bilinear2d", "clone", "contiguous", "alias")  # fmt: skip


@dataclass
class ChannelTies:
    """Sets of channels by number, `FIXED` and others. channels: of every tensor that was looked at."""

    channels: dict[fx.Node, Tensor] = field(default_factory=dict)
    parents: list[int] = field(default_factory=lambda: [FIXED])

    @property
    def sets(self) -> int:
        """One more than the largest number of a set."""
        return len(self.parents)

    def of(self, node: object) -> Tensor:
        """The set of each channel, int64 [C]."""
        assert isinstance(node, fx.Node)
        return torch.tensor([self._root(number) for number in self.channels[node].tolist()], dtype=torch.int64)

    def _root(self, number: int) -> int:
        while self.parents[number] != number:
            self.parents[number] = self.parents[self.parents[number]]
            number = self.parents[number]
        return number

    def fresh(self, count: int) -> Tensor:
        """Channels that nothing is tied to."""
        first = len(self.parents)
        self.parents += range(first, first + count)
        return torch.arange(first, first + count)

    def tie(self, one: Tensor, other: Tensor) -> None:
        """Channel by channel; the least number stands for a set, so that what is fixed stays fixed."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = sorted((self._root(a), self._root(b)))
            self.parents[b] = a

    def fix(self, node: fx.Node) -> None:
        """Its channels keep the factor 1."""
        if node in self.channels:
            self.tie(self.channels[node], torch.zeros_like(self.channels[node]))


def channel_ties(gm: fx.GraphModule, free: Collection[fx.Node] = ()) -> ChannelTies:
    """Go through a captured float graph in order. free: multiplications that take up any factors."""
    ties = ChannelTies()
    for node in gm.graph.nodes:
        if node.op in ("get_attr", "output"):
            _fix_all(ties, node)
            continue
        shape = _shape(node)
        made = ties.fresh(shape[1]) if node in free and shape is not None else _made(ties, node)
        if made is None:
            _fix_all(ties, node)
        if shape is not None:
            ties.channels[node] = torch.zeros(shape[1], dtype=torch.int64) if made is None else made
    return ties


def constants_of(node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """Weight and bias of a layer; a weight of None: they are no constants of the network."""
    weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
    fixed = isinstance(weight, fx.Node) and weight.op == "get_attr"
    if not fixed or not (bias is None or (isinstance(bias, fx.Node) and bias.op == "get_attr")):
        return None, None
    assert isinstance(weight, fx.Node) and (bias is None or isinstance(bias, fx.Node))
    return weight, bias


def _fix_all(ties: ChannelTies, node: fx.Node) -> None:
    for source in node.all_input_nodes:
        ties.fix(source)


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    """Of a tensor whose second axis is the channel; None of any other."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dim() not in (_IMAGE, _VECTOR) or not isinstance(value.shape[1], int):
        return None
    return tuple(value.shape)


def _made(ties: ChannelTies, node: fx.Node) -> Tensor | None:
    """Channels of what a node makes; None where it commutes with no factors."""
    name, shape = op_name(node), _shape(node)
    source = node.args[0] if node.args else None
    if shape is None:
        return None
    if name in ("conv2d", "linear"):
        readable = isinstance(source, fx.Node) and source in ties.channels and constants_of(node)[0] is not None
        return ties.fresh(shape[1]) if readable else None
    if name == "cat":
        return _joined(ties, node)
    if name in ("add", "mul"):
        return _of_two(ties, node, name)
    if not isinstance(source, fx.Node) or source not in ties.channels:
        return None
    if name == "slice":
        return _sliced(ties.channels[source], node)
    return ties.channels[source] if _commutes(node, name, source) else None


def _commutes(node: fx.Node, name: str, source: fx.Node) -> bool:
    if name == "pad":
        mode, value = (*node.args[2:4], "constant", 0)[:2] if len(node.args) > 3 else ("constant", None)
        return mode == "constant" and not value and _keeps_channels(node, source)
    if name == "mean":
        return node.args[1] in ([2, 3], [-1, -2], [-2, -1]) and len(_shape(source) or ()) == _IMAGE
    if name in ("flatten", "reshape", "view", "squeeze"):
        before = _shape(source) or ()
        return len(before) == _IMAGE and before[2:] == (1, 1) and _keeps_channels(node, source)
    return name in _COMMUTES and _keeps_channels(node, source)


def _keeps_channels(node: fx.Node, source: fx.Node) -> bool:
    after, before = _shape(node), _shape(source)
    return after is not None and before is not None and after[1] == before[1]


def _joined(ties: ChannelTies, node: fx.Node) -> Tensor | None:
    parts = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else 0
    assert isinstance(parts, list | tuple)
    if axis not in (1, 1 - len(_shape(node) or ())):
        return None
    if not all(isinstance(part, fx.Node) and part in ties.channels for part in parts):
        return None
    return torch.cat([ties.channels[part] for part in parts])  # type: ignore[index]


def _of_two(ties: ChannelTies, node: fx.Node, name: str) -> Tensor | None:
    """A sum ties both; a product has the factor of the larger one, the other is a gate and keeps 1."""
    one, other = node.args[:2]
    if not isinstance(other, fx.Node):
        return ties.channels.get(one) if name == "mul" and isinstance(one, fx.Node) else None
    if not isinstance(one, fx.Node) or one not in ties.channels or other not in ties.channels:
        return None
    shapes = [_shape(part) or () for part in (one, other)]
    if name == "add":
        if shapes[0] != shapes[1]:
            return None
        ties.tie(ties.channels[one], ties.channels[other])
        return ties.channels[one]
    data, gate = (one, other) if shapes[0] == _shape(node) else (other, one)
    if _shape(data) != _shape(node):
        return None
    ties.fix(gate)
    return ties.channels[data]


def _sliced(channels: Tensor, node: fx.Node) -> Tensor | None:
    """Some channels, or some positions of all."""
    if len(node.args) != 4:
        return None
    axis, start, end = node.args[1:4]
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    if axis == 1:
        return channels[start:end]
    return channels if axis in (2, 3) else None
