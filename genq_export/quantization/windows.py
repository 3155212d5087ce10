"""Random windows: a step of learning looks at some positions of every image, where a block's maps have many.

Neighbouring positions of an early map say much the same, and a block without global operators answers each position
from the few around it. So a step may be given a cut of every image, as large as a window of the output needs (the
receptive field of its positions), and is judged by that window. Where the cut ends with the map, the block pads there
as it does in the whole network; where it does not, the positions that read beyond it are not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from genq_export.network.aten import attribute, called_module, is_constant, op_name
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.quantization.blocks import Block

_POSITIONWISE = (
    "relu", "relu6", "sigmoid", "hardsigmoid", "gelu", "silu", "hardswish", "hardtanh", "clamp", "leaky_relu", "elu",
    "tanh", "add", "add_", "sub", "mul", "div", "relu_", "batch_norm", "dropout", "neg",
)  # fmt: skip
_POOLS = ("max_pool2d", "avg_pool2d")


@dataclass(frozen=True)
class Reach:
    """What output position i reads along one axis: the inputs from `stride * i - before` to `stride * i + after`."""

    stride: int = 1
    before: int = 0
    after: int = 0

    def through(self, kernel: int, stride: int, padding: int, dilation: int) -> "Reach":
        """Of a convolution or pooling whose input reaches this far."""
        span = (kernel - 1) * dilation
        return Reach(
            self.stride * stride, self.before + self.stride * padding, self.after + self.stride * (span - padding)
        )

    def padded(self, before: int) -> "Reach":
        """Of a map that has so many positions more in front."""
        return Reach(self.stride, self.before + self.stride * before, self.after - self.stride * before)

    def with_other(self, other: "Reach") -> "Reach":
        """Of what is computed from two, position by position."""
        return Reach(self.stride, max(self.before, other.before), max(self.after, other.after))


@dataclass(frozen=True)
class Cut:
    """A cut of one image along one axis.

    Attributes:
        given: of the input map, what the block is given.
        judged: of what the block answers to it, the positions that read nothing beyond the cut.
        wanted: the same positions in the output map.
    """

    given: slice
    judged: slice
    wanted: slice


@dataclass(frozen=True)
class Axis:
    """Where cuts of one size may lie along an axis.

    Attributes:
        size: positions of the input map.
        cut: positions of a cut; `size - cut` is a multiple of the stride.
        answered: positions of the output map.
        reach: of the block.
    """

    size: int
    cut: int
    answered: int
    reach: Reach

    @classmethod
    def of(cls, reach: Reach, size: int, answered: int, window: int) -> "Axis":
        """With the smallest cut whose judged part has `window` positions wherever it lies."""
        before = -(-reach.before // reach.stride)
        needed = reach.stride * (before + window - 1) + reach.after + 1
        spare = max(0, size - needed) // reach.stride * reach.stride
        return cls(size, size - spare, answered, reach)

    @property
    def places(self) -> int:
        """How many places there are for the cut."""
        return (self.size - self.cut) // self.reach.stride + 1

    def at(self, place: int) -> Cut:
        """The cut at one of the places."""
        reach, start = self.reach, place * self.reach.stride
        first = 0 if place == 0 else -(-reach.before // reach.stride)
        last = (
            self.answered - place if start + self.cut == self.size else (self.cut - 1 - reach.after) // reach.stride + 1
        )
        last = min(last, self.answered - place)
        return Cut(slice(start, start + self.cut), slice(first, last), slice(place + first, place + last))

    def draw(self, count: int, generator: torch.Generator) -> list[Cut]:
        """Cuts at random places. [ours] Half a cut beyond either end counts as the end, else edges were rarely seen."""
        margin = self.cut // (2 * self.reach.stride) if self.places > 1 else 0
        drawn = torch.randint(-margin, self.places + margin, (count,), generator=generator)
        return [self.at(place) for place in drawn.clamp(0, self.places - 1).tolist()]


@dataclass(frozen=True)
class Window:
    """A window of one image."""

    rows: Cut
    columns: Cut

    def given(self, values: Tensor) -> Tensor:
        """What the block is given of its input map [C, H, W]."""
        return values[:, self.rows.given, self.columns.given]

    def judged(self, values: Tensor) -> Tensor:
        """The positions that are judged of what the block answered to that."""
        return values[:, self.rows.judged, self.columns.judged]

    def wanted(self, values: Tensor) -> Tensor:
        """The same positions of the output map."""
        return values[:, self.rows.wanted, self.columns.wanted]


@dataclass(frozen=True)
class Windows:
    """Draws a window of every image for one block."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, block: Block, given: Sequence[int], answered: Sequence[int], window: int | None) -> "Windows | None":
        """For a block with such maps, [N, C, H, W] each; None where the whole maps are needed, or are no larger."""
        if window is None or block.own is not None or len(given) != 4 or len(answered) != 4:
            return None
        reaches = reach_of(block)
        if reaches is None:
            return None
        rows, columns = (
            Axis.of(reach, size, out, window) for reach, size, out in zip(reaches, given[2:], answered[2:], strict=True)
        )
        return cls(rows, columns) if rows.places * columns.places > 1 else None

    def draw(self, count: int, generator: torch.Generator) -> list[Window]:
        """A window for each of `count` images."""
        return list(map(Window, self.rows.draw(count, generator), self.columns.draw(count, generator)))


def reach_of(block: Block) -> tuple[Reach, Reach] | None:
    """How far a block's output positions reach, along rows and columns; None where one may read the whole map.

    Found from the graph: convolutions and poolings widen it, position-wise operators and concatenations of channels
    keep it, and anything else (means, attention, gates made from a mean, reshaping) may read everything.
    """
    reaches: dict[fx.Node, tuple[Reach, Reach]] = {}
    for node in block.module.graph.nodes:
        if node.op == "placeholder":
            reaches[node] = (Reach(), Reach())
        elif node.op == "output":
            return reaches.get(node.args[0])
        elif node.op != "get_attr" and not is_constant(node):
            found = _through(node, called_module(block.module, node), _joined(node, reaches), block)
            if found is None:
                return None
            reaches[node] = found
    return None


def _joined(node: fx.Node, reaches: dict[fx.Node, tuple[Reach, Reach]]) -> tuple[Reach, Reach] | None:
    """Of all that the node reads together; None where maps of different strides meet."""
    first, *others = (reaches[source] for source in node.all_input_nodes if source in reaches)
    rows, columns = first
    for other in others:
        if (other[0].stride, other[1].stride) != (rows.stride, columns.stride):
            return None
        rows, columns = rows.with_other(other[0]), columns.with_other(other[1])
    return rows, columns


def _through(node: fx.Node, part: object, read: tuple[Reach, Reach] | None, block: Block) -> tuple[Reach, Reach] | None:
    """Of what the node gives, from that of what it reads."""
    if read is None or isinstance(part, ActivationQuantizer):
        return read
    if op_name(node) in _POSITIONWISE:
        return read if _constants_are_everywhere_the_same(node, block) else None
    if op_name(node) == "cat":
        return read if _argument(node, 1, "dim", 0) == 1 else None
    if op_name(node) == "pad":
        before = _padding_in_front(node)
        return None if before is None else (read[0].padded(before[0]), read[1].padded(before[1]))
    geometry = _geometry(node, part)
    return None if geometry is None else (read[0].through(*geometry[0]), read[1].through(*geometry[1]))


def _constants_are_everywhere_the_same(node: fx.Node, block: Block) -> bool:
    """Has no constant that the node reads a number for each position, as a position embedding has?"""
    constants = [source for source in node.all_input_nodes if is_constant(source)]
    if any(source.op != "get_attr" for source in constants):
        return False
    values = [attribute(block.module, str(source.target)) for source in constants]
    return all(value.shape[-2:].numel() == 1 for value in values)


def _padding_in_front(node: fx.Node) -> tuple[int, int] | None:
    """Rows and columns that a padding by one number adds in front; None for any other."""
    pads = list(_argument(node, 1, "pad", ()))
    if _argument(node, 2, "mode", "constant") != "constant" or len(pads) not in (2, 4) or min(pads) < 0:
        return None
    return (pads[2] if len(pads) == 4 else 0), pads[0]


def _geometry(node: fx.Node, part: object) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None:
    """Kernel, stride, padding and dilation along rows and columns; None for what is no convolution or pooling."""
    if isinstance(part, QuantizedLayer) and part.op == "conv2d":
        values = [part.weight.shape[2:], *(part.geometry.get(key, default) for key, default in _CONV)]
    elif op_name(node) in _POOLS and not _rounds_up(node):
        kernel = _argument(node, 1, "kernel_size", None)
        dilation = _argument(node, 4, "dilation", 1) if op_name(node) == "max_pool2d" else 1
        values = [kernel, _argument(node, 2, "stride", None) or kernel, _argument(node, 3, "padding", 0), dilation]
    else:
        return None
    first, second = zip(*map(_pair, values), strict=True)
    return first, second


_CONV = (("stride", 1), ("padding", 0), ("dilation", 1))


def _rounds_up(node: fx.Node) -> bool:
    """ceil_mode, which the sixth argument of a maximum and the fifth of an average is."""
    return bool(_argument(node, 5 if op_name(node) == "max_pool2d" else 4, "ceil_mode", False))


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _pair(value: Any) -> tuple[int, int]:
    found = (value, value) if isinstance(value, int) else tuple(value)
    return found if len(found) == 2 else (found[0], found[0])
