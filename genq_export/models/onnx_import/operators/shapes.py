"""Shapes: what they are, and the same numbers in another one."""

import math

import torch
from torch import Tensor

from genq_export.models.onnx_import.network import Sizes
from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import IMAGES, AsSizes, Value


def shape(node: Node) -> Value:
    """Known before any pixel is: for each number of images that is tried."""
    x = node.input(0)
    start, end = int(node.attribute("start", 0)), node.attribute("end")
    return Value(
        "", tuple(torch.tensor(list(part.shape)[start:end], dtype=torch.int64) for part in x.tried), known=True
    )


def size(node: Node) -> Value:
    """How many numbers there are."""
    return Value("", tuple(torch.tensor(part.numel()) for part in node.input(0).tried), known=True)


def reshape(node: Node) -> Value:
    """The sizes of the file; those that it states for one image are made to hold for any number of them."""
    x, target = node.input(0), node.input(1)
    tried = [_resolved(node, part, wanted) for part, wanted in zip(x.tried, _wanted(node, x, target), strict=True)]
    if not target.fixed or (_fits(x, tried) and not _counts_one(node, x)):
        if not _fits(x, tried):
            raise node.refuse(f"{list(x.shape)} does not go into {tried[0]}")
        return _reshaped(node, x, tried)
    if not (x.rank and x.grows(0)) and _fits(x, tried):
        return _reshaped(node, x, tried)
    if not (x.rank and x.grows(0)):
        raise node.refuse(f"the shape {tried[0]} holds for one number of images only: export with a free batch")
    return _for_any_number(node, x, target)


def _counts_one(node: Node, x: Value) -> bool:
    return node.fixed_batch and x.rank > 0 and x.grows(0)


def _wanted(node: Node, x: Value, target: Value) -> list[list[int]]:
    """The target for each number of images; 0 stands for the size that the axis has."""
    keep = not node.attribute("allowzero", 0)
    found = []
    for part, sizes in zip(x.tried, target.tried, strict=True):
        listed = [int(size) for size in sizes.flatten().tolist()]
        found.append([int(part.shape[axis]) if size == 0 and keep else size for axis, size in enumerate(listed)])
    return found


def _resolved(node: Node, part: Tensor, sizes: list[int]) -> list[int]:
    if -1 not in sizes:
        return sizes
    rest = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or rest <= 0:
        raise node.refuse(f"the shape {sizes} does not say what it means")
    return [part.numel() // rest if size == -1 else size for size in sizes]


def _fits(x: Value, tried: list[list[int]]) -> bool:
    return all(part.numel() == math.prod(sizes) for part, sizes in zip(x.tried, tried, strict=True))


def _for_any_number(node: Node, x: Value, target: Value) -> Value:
    """A shape for one image: its first axis goes with the number of images, as that of the tensor does."""
    each = x.tried[1].numel() - x.tried[0].numel()
    keep = not node.attribute("allowzero", 0)
    own = [size.factor + size.offset if axis == 0 else size.offset for axis, size in enumerate(_axes(x))]
    sizes = [own[axis] if size == 0 and keep else size for axis, size in enumerate(node.integers(1))]
    if sizes.count(-1) == 1:
        rest = math.prod(size for size in sizes if size != -1)
        sizes = [each // rest if size == -1 and rest else size for size in sizes]
    if not sizes or math.prod(sizes) != each:
        raise node.refuse(f"the shape {node.integers(1)} holds neither for one image nor for any number of them")
    rest_of = sizes[1:]
    return node.emit(lambda x: x.reshape(-1, *rest_of), x)


class _Axis:
    def __init__(self, offset: int, factor: int) -> None:
        self.offset, self.factor = offset, factor


def _axes(x: Value) -> list[_Axis]:
    sizes = x.shape_sizes()
    return [_Axis(a, b) for a, b in zip(sizes.offset, sizes.factor, strict=True)]


def _reshaped(node: Node, x: Value, tried: list[list[int]]) -> Value:
    """With -1 for the one size that the batch decides; by numbers of images where there are more."""
    if x.known:
        return Value(x.name, _known_reshaped(x, tried), known=True, weight=x.weight)
    growing = [axis for axis, (a, b) in enumerate(zip(*tried, strict=True)) if a != b]
    if len(growing) <= 1:
        sizes = [-1 if axis in growing else size for axis, size in enumerate(tried[0])]
        return node.emit(lambda x: x.reshape(sizes), x)
    factor = tuple(b - a for a, b in zip(*tried, strict=True))
    offset = tuple(a - IMAGES[0] * step for a, step in zip(tried[0], factor, strict=True))
    return node.emit(lambda x, sizes: x.reshape(sizes), x, Sizes(offset, factor))


def _known_reshaped(x: Value, tried: list[list[int]]) -> tuple[Tensor, ...]:
    if x.weight:
        return (torch.nn.Parameter(x.tried[0].detach().reshape(tried[0])),) * len(IMAGES)
    return tuple(part.reshape(sizes) for part, sizes in zip(x.tried, tried, strict=True))


def flatten(node: Node) -> Value:
    """Two axes: all before one, and all from it on."""
    x, axis = node.input(0), int(node.attribute("axis", 1))
    axis = x.axis(axis) if axis < 0 else axis
    if axis == 1 and x.rank > 1:
        return node.emit(lambda x: torch.flatten(x, 1), x, moves=True)
    tried = [[math.prod(part.shape[:axis]), math.prod(part.shape[axis:])] for part in x.tried]
    return _reshaped(node, x, tried)


def transpose(node: Node) -> Value:
    """Axes in another order; reversed where none is given."""
    x = node.input(0)
    order = [int(axis) for axis in node.attribute("perm", range(x.rank)[::-1])]
    return node.emit(lambda x: x.permute(order), x, moves=True)


def squeeze(node: Node) -> Value:
    """Without axes of size 1."""
    x, axes = node.input(0), node.listed("axes", 1)
    if axes is None:
        axes = [axis for axis, length in enumerate(x.shape) if length == 1 and not x.grows(axis)]
    chosen = [x.axis(axis) for axis in axes]
    wrong = [axis for axis in chosen if x.shape[axis] != 1]
    if wrong:
        reason = "counts images: export with a free batch" if x.grows(wrong[0]) else f"has size {x.shape[wrong[0]]}"
        raise node.refuse(f"axis {wrong[0]} cannot be left out, it {reason}")
    return node.emit(lambda x: _without(x, chosen), x, moves=True)


def _without(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.squeeze(axis)
    return x


def unsqueeze(node: Node) -> Value:
    """With new axes of size 1."""
    x, axes = node.input(0), node.listed("axes", 1) or []
    places = sorted(axis % (x.rank + len(axes)) for axis in axes)
    return node.emit(lambda x: _with(x, places), x, moves=True)


def _with(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def expand(node: Node) -> Value:
    """Repeated along axes of size 1; an axis that is larger already stays as it is."""
    return node.emit(_expanded, node.input(0), AsSizes(node.input(1)))


def _expanded(x: Tensor, sizes: list[int]) -> Tensor:
    own = [1] * (len(sizes) - x.dim()) + list(x.shape)
    wanted = [1] * (x.dim() - len(sizes)) + list(sizes)
    return x.expand([b if isinstance(a, int) and a == 1 else a for a, b in zip(own, wanted, strict=True)])


def tile(node: Node) -> Value:
    """Repeated as a whole along each axis."""
    return node.emit(lambda x, times: x.repeat(times), node.input(0), AsSizes(node.input(1)))


def depth_to_space(node: Node) -> Value:
    """Blocks of channels become blocks of pixels."""
    block, mode = int(node.attribute("blocksize")), node.attribute("mode", "DCR")
    if mode == "CRD":
        return node.emit(lambda x: torch.pixel_shuffle(x, block), node.input(0))
    channels = int(node.input(0).shape[1]) // block**2

    def spread(x: Tensor) -> Tensor:
        # torch reads channels first: [block^2, C] becomes [C, block^2].
        parts = x.unflatten(1, (block * block, channels)).transpose(1, 2).flatten(1, 2)
        return torch.pixel_shuffle(parts, block)

    return node.emit(spread, node.input(0))


def space_to_depth(node: Node) -> Value:
    """Blocks of pixels become blocks of channels."""
    block, channels = int(node.attribute("blocksize")), int(node.input(0).shape[1])

    def gathered(x: Tensor) -> Tensor:
        parts = torch.pixel_unshuffle(x, block)
        found: Tensor = parts.unflatten(1, (channels, block * block)).transpose(1, 2).flatten(1, 2)
        return found

    return node.emit(gathered, node.input(0))
