"""What depends on how many images there are, and on nothing in them, is the same for each: a constant, repeated.

Detectors compute position tables and masks so: `arange` over the images, masks of ones expanded, cumulative sums. The
part of a graph that reads nothing but the number of images is computed for two such numbers. Where the rows are one
row, however many there are, that row takes its place.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from genq_export.network.aten import is_constant, is_repeatable, module_path, new_constant, op_name

_COUNTS = (2, 3)
_MOST = 2**26  # numbers of a tensor that is computed here
_BROADCAST = ("add", "sub", "mul", "div", "where", "maximum", "minimum")


def fold_batch_constants(gm: fx.GraphModule) -> None:
    """Rewrite the graph in place."""
    (images,) = gm.graph.find_nodes(op="placeholder")
    known = _Known(gm, images)
    for node in list(gm.graph.nodes):
        values = known.tensors(node)
        read_on = any(known.tensors(reader) is None and reader.op != "output" for reader in node.users)
        if values is None or not read_on or _is_repeated_constant(node):
            continue
        row = _row(values)
        if row is not None:
            _replace(gm, node, row, known.count_before(node))
    gm.graph.eliminate_dead_code()


class _Known:
    """The values of nodes that the images decide by their number alone, for each of `_COUNTS`."""

    def __init__(self, gm: fx.GraphModule, images: fx.Node) -> None:
        self._gm, self._images = gm, images
        self._values: dict[fx.Node, list[Any]] = {}
        self._counts = set[fx.Node]()
        for node in gm.graph.nodes:
            self._look_at(node)

    def tensors(self, node: fx.Node) -> list[Tensor] | None:
        """A node's tensors; None where it gives none, is a plain constant, or depends on what is in the images."""
        found = self._values.get(node)
        return found if found and node in self._counts and isinstance(found[0], Tensor) else None

    def count_before(self, node: fx.Node) -> fx.Node:
        """A node that gives the number of images, computed in front of `node`."""
        for other in self._gm.graph.nodes:
            if other is node:
                break
            if self._is_count(other):
                return other  # type: ignore[no-any-return]
        with self._gm.graph.inserting_after(self._images):
            made = self._gm.graph.call_function(torch.ops.aten.sym_size.int, (self._images, 0))
        made.meta["val"] = self._images.meta["val"].shape[0]
        return made

    def _is_count(self, node: fx.Node) -> bool:
        return op_name(node) == "sym_size" and str(node.meta.get("val")) == str(self._images.meta["val"].shape[0])

    def _look_at(self, node: fx.Node) -> None:
        if self._is_count(node):
            self._values[node] = list(_COUNTS)
            self._counts.add(node)
        elif node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self._gm)
            if isinstance(value, Tensor):
                self._values[node] = [value] * len(_COUNTS)
        elif op_name(node) == "expand_as" and node.args[0] in self._values and node.args[1] not in self._values:
            self._expand(node)
        elif (
            node.op == "call_function" and is_repeatable(node) and all(n in self._values for n in node.all_input_nodes)
        ):
            self._compute(node)

    def _expand(self, node: fx.Node) -> None:
        """To the shape of a tensor whose numbers nobody asks for."""
        shape, batch = node.args[1].meta["val"].shape, str(self._images.meta["val"].shape[0])  # type: ignore[union-attr]
        if all(isinstance(size, int) or str(size) == batch for size in shape):
            sizes = [[size if isinstance(size, int) else count for size in shape] for count in _COUNTS]
            given = self._values[node.args[0]]  # type: ignore[index]
            self._values[node] = [value.expand(size) for value, size in zip(given, sizes, strict=True)]
            self._counts.add(node)

    @torch.no_grad()
    def _compute(self, node: fx.Node) -> None:
        found = []
        for place in range(len(_COUNTS)):
            here = {source: self._values[source][place] for source in node.all_input_nodes}
            args, kwargs = (fx.node.map_arg(part, here.__getitem__) for part in (node.args, node.kwargs))
            value = node.target(*args, **kwargs)  # type: ignore[operator, arg-type]
            if isinstance(value, Tensor) and value.numel() > _MOST:
                return
            found.append(value)
        self._values[node] = found
        if any(source in self._counts for source in node.all_input_nodes):
            self._counts.add(node)


def _is_repeated_constant(node: fx.Node) -> bool:
    """Is it what this file would make of it?"""
    return op_name(node) == "expand" and is_constant(node.args[0])


def _row(values: list[Tensor]) -> Tensor | None:
    """What each image has, [1, ...]; None where images differ, or the first axis does not count them."""
    first, second = values
    if first.shape == second.shape:
        return first if torch.equal(first, second) else None
    if first.dim() == 0 or first.shape[1:] != second.shape[1:]:
        return None
    if (first.shape[0], second.shape[0]) != _COUNTS:
        return None
    row = first[:1]
    return row if bool((first == row).all()) and bool((second == row).all()) else None


def _replace(gm: fx.GraphModule, node: fx.Node, row: Tensor, count: fx.Node) -> None:
    with gm.graph.inserting_before(node):
        constant = new_constant(gm, f"{module_path(node).replace('.', '_')}_of_each_image", row)
        constant.meta = {key: value for key, value in node.meta.items() if key != "val"}
        constant.meta["val"] = node.meta["val"][: row.shape[0]] if row.dim() else node.meta["val"]
        repeated = constant
        if row.dim() and str(node.meta["val"].shape[0]) == str(count.meta["val"]):
            sizes: Any = [count, *[-1] * (row.dim() - 1)]
            repeated = gm.graph.call_function(torch.ops.aten.expand.default, (constant, sizes))
            repeated.meta = dict(node.meta)
    for reader in list(node.users):
        taken = constant if _broadcasts(reader, node) else repeated
        reader.replace_input_with(node, taken)


def _broadcasts(reader: fx.Node, node: fx.Node) -> bool:
    """Does an operator repeat the row itself, for the sake of another operand that has all images?"""
    others = [part for part in reader.all_input_nodes if part is not node]
    shapes = [part.meta["val"].shape for part in others if isinstance(part.meta.get("val"), Tensor)]
    full = reader.meta["val"].shape if isinstance(reader.meta.get("val"), Tensor) else None
    return op_name(reader) in _BROADCAST and full is not None and any(shape == full for shape in shapes)
