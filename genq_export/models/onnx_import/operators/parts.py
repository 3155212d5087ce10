"""Parts of tensors, and tensors of parts."""

from typing import Any

import torch
from torch import Tensor

from genq_export.models.onnx_import.network import Sizes
from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import IMAGES, Value

_LAST = 2**31  # the standard's way to say: to the end


def concat(node: Node) -> Value:
    """Along one axis; what a file for one image holds once is repeated for every image."""
    parts = [node.input(index) for index in range(len(node.inputs))]
    axis = parts[0].axis(int(node.attribute("axis")))
    if axis and any(part.grows(0) for part in parts):
        parts = [_for_every_image(node, part) if part.shape[0] == 1 else part for part in parts]
    return parts[0] if len(parts) == 1 else node.emit(lambda *x: torch.cat(x, axis), *parts)


def _for_every_image(node: Node, part: Value) -> Value:
    rest = [int(size) for size in part.shape[1:]]
    sizes = Sizes((0, *rest), (1, *[0] * len(rest)))
    return node.emit(lambda x, sizes: x.expand(sizes), part, sizes, part_of="repeated")


def split(node: Node) -> list[Value]:
    """Into as many parts as the node has outputs."""
    x, count = node.input(0), len(node.outputs)
    axis = x.axis(int(node.attribute("axis", 0)))
    sizes = node.listed("split", 1)
    if sizes is None:
        if x.grows(axis):
            raise node.refuse("it splits the images of a batch")
        each = -(-int(x.shape[axis]) // count)
        sizes = [each] * (count - 1)
        sizes.append(int(x.shape[axis]) - sum(sizes))
    if count == 1:
        return [x]
    chosen = list(sizes)
    return node.emit_many(lambda x: tuple(torch.split(x, chosen, axis)), [x], count)


def slices(node: Node) -> Value:
    """A range along each of some axes."""
    x = node.input(0)
    starts, ends = _bounds(node, "starts", 1), _bounds(node, "ends", 2)
    given = node.listed("axes", 3)
    axes = list(range(len(starts))) if given is None else [x.axis(axis) for axis in given]
    steps = node.integers(4) if node.has(4) else [1] * len(axes)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        x = _sliced(node, x, axis, start, end, step)
    return x


def _bounds(node: Node, name: str, index: int) -> list[Sizes]:
    """Where to begin or to end, which may depend on the number of images."""
    if not node.has(index):
        return [Sizes((int(bound),), (0,)) for bound in node.attribute(name)]
    first, second = (part.flatten().tolist() for part in node.input(index).tried)
    if not node.input(index).known:
        raise node.refuse("where it begins or ends depends on pixels")
    return [Sizes((a - IMAGES[0] * (b - a),), (b - a,)) for a, b in zip(first, second, strict=True)]


def _sliced(node: Node, x: Value, axis: int, start: Sizes, end: Sizes, step: int) -> Value:
    if start.factor == end.factor == (0,) and not x.grows(axis):
        return _fixed_slice(node, x, axis, (start.offset[0], end.offset[0], step))
    if step != 1:
        raise node.refuse("it skips images of a batch")
    whole = start == Sizes((0,), (0,)) and all(
        end.of(images)[0] >= part.shape[axis] for images, part in zip(IMAGES, x.tried, strict=True)
    )
    if whole:
        return x
    if end.offset[0] >= _LAST:
        return node.emit(lambda x, a: x.narrow(axis, a[0], x.shape[axis] - a[0]), x, start)

    def cut(x: Tensor, a: list[Any], b: list[Any]) -> Tensor:
        return torch.ops.aten.slice.Tensor(x, axis, a[0], b[0])  # type: ignore[no-any-return]

    return node.emit(cut, x, start, end)


def _fixed_slice(node: Node, x: Value, axis: int, bounds: tuple[int, int, int]) -> Value:
    size, step = int(x.shape[axis]), bounds[2]
    start, end = _clamped(bounds[0], size, step), _clamped(bounds[1], size, step)
    if step > 0:
        if (start, end, step) == (0, size, 1):
            return x
        parts = (*[slice(None)] * axis, slice(start, max(end, start), step))
        return node.emit(lambda x: x[parts], x)
    places = list(range(start, end, step))
    if places == list(range(size))[::-1]:
        return node.emit(lambda x: torch.flip(x, [axis]), x)
    index = torch.tensor(places, dtype=torch.int64)
    return node.emit(lambda x, i: x.index_select(axis, i), x, Value("", (index, index), known=True))


def _clamped(bound: int, size: int, step: int) -> int:
    """A bound as Python counts: from the front, at most just outside."""
    bound = bound + size if bound < 0 else bound
    return min(max(bound, 0), size) if step > 0 else min(max(bound, -1), size - 1)


def gather(node: Node) -> Value:
    """Slices of a tensor along an axis, by their numbers."""
    x, index = node.input(0), node.input(1)
    axis = x.axis(int(node.attribute("axis", 0)))
    if index.fixed and not x.grows(axis):
        size, places = int(x.shape[axis]), index.tried[0]
        places = torch.where(places < 0, places + size, places)
        if places.numel() and not bool(((places >= 0) & (places < size)).all()):
            raise node.refuse(f"it reads outside of the {size} places of axis {axis}")
        if places.dim() == 0:
            place = int(places)
            return node.emit(lambda x: x.select(axis, place), x)
        index = Value("", (places.long(),) * len(IMAGES), known=True)
    if index.known and not index.fixed:
        return _strided(node, x, index)
    if index.rank == 1:
        return node.emit(lambda x, index: x.index_select(axis, index), x, index)
    before = [slice(None)] * axis
    return node.emit(lambda x, index: x[(*before, index)], x, index)


def _strided(node: Node, x: Value, index: Value) -> Value:
    """The numbers of a batch in one row, and the same places of every image picked: a strided view, written out."""
    each = int(x.tried[1].numel() - x.tried[0].numel())
    base = index.tried[0][:1]
    for images, places in zip(IMAGES, index.tried, strict=True):
        shifts = torch.arange(images).view(-1, *[1] * (index.rank - 1)) * each
        if x.rank != 1 or places.shape[0] != images or not torch.equal(places, base + shifts):
            raise node.refuse("it picks other places for each image")
    shape, order = [int(size) for size in base.shape[1:]], base.flatten()
    if torch.equal(order, torch.arange(each)):
        return node.emit(lambda x: x.reshape(-1, *shape), x)
    place = Value("", (order,) * len(IMAGES), known=True)
    return node.emit(lambda x, i: x.reshape(-1, each).index_select(1, i).unflatten(1, shape), x, place)


def gather_nd(node: Node) -> Value:
    """Slices by tuples of numbers along the first axes."""
    if node.attribute("batch_dims", 0):
        raise node.refuse("batch_dims is not taken")
    places = node.fixed(1)
    if node.input(0).grows(0):
        raise node.refuse("it picks images of a batch")
    columns = [places[..., column].contiguous() for column in range(places.shape[-1])]
    picked = [Value("", (column,) * len(IMAGES), known=True) for column in columns]
    return node.emit(lambda x, *index: x[index], node.input(0), *picked)


def gather_elements(node: Node) -> Value:
    """One number for each place of the index."""
    axis = int(node.attribute("axis", 0))
    return node.emit(lambda x, index: torch.gather(x, axis, index), node.input(0), node.input(1))


def trilu(node: Node) -> Value:
    """The upper or the lower triangle."""
    diagonal = int(node.number(1, 0))
    upper = bool(node.attribute("upper", 1))
    return node.emit(lambda x: torch.triu(x, diagonal) if upper else torch.tril(x, diagonal), node.input(0))
