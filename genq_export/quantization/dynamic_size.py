"""A network captured for images of one size, made to take images of others.

It is captured for three sizes. Where the graphs are the same but for integers, each such integer is written as the size
of a tensor in front: sizes of a resize, parts of a reshape, ends of a slice. A constant that differs (a position
embedding, a grid of anchors) or another operator means that the network is not free. What was found is judged on a
fourth size.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from genq_export.core.errors import UserError, reason_of
from genq_export.models.other_sizes import for_size, free_axes
from genq_export.network.aten import attribute, module_path, op_name
from genq_export.network.free_size import FreeSize, Size
from genq_export.network.outputs import by_name
from genq_export.quantization.capture import capture
from genq_export.quantization.reparameterize import reparameterized

_STEPS = (1, 32)
_MOST = 64  # times a size, or divided by


class DynamicSize:
    """Rewrites captured graphs of one network in place; `found` says how free it is."""

    def __init__(self, name: str, module: nn.Module, input_size: Size) -> None:
        self._name, self._module, self._size = name, module, input_size
        self._others: list[fx.GraphModule] = []
        self.found: FreeSize | None = None

    def __call__(self, gm: fx.GraphModule) -> None:
        """Write what depends on the size of the images as such.

        Raises:
            UserError: where the network takes images of one size alone, with the reason.
        """
        if self.found is None:
            self.found, self._others = self._tried(gm)
        self._rewrite(gm, self.found, self._others)

    def _rewrite(self, gm: fx.GraphModule, free: FreeSize, others: Sequence[fx.GraphModule]) -> None:
        _write(gm, _differences(gm, others))
        gm.graph.lint()
        gm.recompile()
        self._judge(gm, free.tried()[2])

    def _tried(self, gm: fx.GraphModule) -> tuple[FreeSize, list[fx.GraphModule]]:
        reasons = []
        for free in self._candidates():
            try:
                others = [self._captured(size) for size in free.tried()[:2]]
                self._rewrite(deepcopy(gm), free, others)
                return free, others
            except UserError as error:
                reasons.append(str(error))
        # Of steps that every stride divides, along both axes where both may be free.
        reason = reasons[min(1, len(reasons) - 1)] if reasons else "its file fixes them"
        raise UserError(f"--dynamic-size: {self._name} takes images of one size alone ({reason}): leave it out")

    def _candidates(self) -> Iterator[FreeSize]:
        height, width = free_axes(self._module)
        for axes in dict.fromkeys(((height, width), (False, width), (height, False))):
            for step in _STEPS if any(axes) else ():
                yield FreeSize(calibrated=self._size, height=axes[0], width=axes[1], step=step)

    def _captured(self, size: Size) -> fx.GraphModule:
        return capture(self._network(size), size)

    def _network(self, size: Size) -> nn.Module:
        try:
            module = for_size(self._module, size)
            with torch.no_grad():
                module(torch.zeros(1, *size))
        except Exception as error:  # whatever the network's code raises
            raise UserError(f"at {'x'.join(map(str, size))}: {reason_of(error)[:200]}") from None
        return reparameterized(module, size)

    @torch.no_grad()
    def _judge(self, gm: fx.GraphModule, size: Size) -> None:
        """Hold the rewritten graph against the network on noise of a size that decided nothing."""
        noise = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
        shown, wanted = "x".join(map(str, size)), by_name(self._network(size)(noise))
        try:
            found = by_name(gm(noise))
        except RuntimeError as error:
            raise UserError(f"at {shown}: {reason_of(error)[:200]}") from None
        for name, right in wanted.items():
            limit = 1e-3 * float(right.abs().max())
            if found[name].shape != right.shape or not torch.allclose(found[name], right, rtol=1e-2, atol=limit):
                raise UserError(f"at {shown} output '{name}' is another once sizes inside are free")


def check_dynamic_size(name: str, module: nn.Module, input_size: Size) -> FreeSize:
    """How free the network is; raises UserError where it is not."""
    freed = DynamicSize(name, module, input_size)
    freed(capture(reparameterized(module, input_size), input_size))
    assert freed.found is not None
    return freed.found


@dataclass(frozen=True)
class _Difference:
    """An integer among the arguments of a node. path: where it is. values: for the sizes tried, the built one first.

    sizes: of tensors in front, those of the node itself first, the nearest next: (node, axis, size by image size).
    """

    node: fx.Node
    path: tuple[Any, ...]
    values: tuple[int, ...]
    sizes: tuple[tuple[fx.Node, int, tuple[int, ...]], ...]


_Formula = Callable[[fx.Graph], Any]


def _differences(gm: fx.GraphModule, others: Sequence[fx.GraphModule]) -> list[_Difference]:
    """Every integer that is another for another size of images; raises UserError where anything else is."""
    lists = [list(graph.graph.nodes) for graph in (gm, *others)]
    if len({len(nodes) for nodes in lists}) != 1:
        raise UserError("it computes other operators for images of other sizes")
    twins = list(zip(*lists, strict=True))
    found: list[_Difference] = []
    sizes: list[tuple[fx.Node, int, tuple[int, ...]]] = []
    places = [{node: number for number, node in enumerate(nodes)} for nodes in lists]
    for same in twins:
        node = same[0]
        if len({(part.op, str(part.target) if part.op == "call_function" else "") for part in same}) != 1:
            raise UserError(f"{_where(node)} is another operator for images of another size")
        if op_name(node).startswith("adaptive_") and any(size != 1 for size in _listed(node.args[1])):
            raise UserError(f"{_where(node)} pools to a fixed number of places, which files say for one size alone")
        if node.op == "get_attr":
            _check_constant(node, [attribute(g, str(n.target)) for g, n in zip((gm, *others), same, strict=True)])
        own = set(node.all_input_nodes)
        near = tuple(sorted(reversed(sizes), key=lambda entry: entry[0] not in own))
        arguments = [_numbered((part.args, part.kwargs), places[index]) for index, part in enumerate(same)]
        for path, values in _leaves(node, arguments):
            found.append(_Difference(node, path, values, near))
        sizes += _sizes(same)
    return found


def _listed(sizes: Any) -> list[Any]:
    return [*sizes] if isinstance(sizes, list | tuple) else [sizes]


def _check_constant(node: fx.Node, values: list[Tensor]) -> None:
    first, *others = values
    if not all(first.shape == other.shape and torch.equal(first, other) for other in others):
        readers = ", ".join(dict.fromkeys(_where(reader) for reader in node.users))
        raise UserError(f"a constant of its own, of {list(first.shape)}, depends on the size of the image: {readers}")


def _numbered(value: Any, places: dict[fx.Node, int]) -> Any:
    """Arguments with nodes by their place in the graph, so that those of other graphs compare."""
    if isinstance(value, fx.Node):
        return f"node {places[value]}"
    if isinstance(value, dict):
        return {key: _numbered(part, places) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_numbered(part, places) for part in value]
    return value


def _leaves(node: fx.Node, arguments: list[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    first = arguments[0]
    keys: Any = first.keys() if isinstance(first, dict) else range(len(first)) if isinstance(first, list) else None
    if keys is not None:
        if any(type(other) is not type(first) or len(other) != len(first) for other in arguments):
            raise UserError(f"{_where(node)} has other arguments for images of another size")
        for key in keys:
            yield from _leaves(node, [part[key] for part in arguments], (*path, key))
    elif any(other != first for other in arguments[1:]):
        if not all(isinstance(part, int) and not isinstance(part, bool) for part in arguments):
            raise UserError(f"{_where(node)} computes with a number that depends on the size of the image")
        yield path, tuple(arguments)


def _sizes(same: Sequence[fx.Node]) -> Iterator[tuple[fx.Node, int, tuple[int, ...]]]:
    """The axes of a tensor whose sizes differ between image sizes."""
    values = [node.meta.get("val") for node in same]
    if not all(isinstance(value, Tensor) for value in values) or same[0].op == "get_attr":
        return
    for axis in range(values[0].dim()):  # type: ignore[union-attr]
        found = tuple(value.shape[axis] for value in values)  # type: ignore[union-attr]
        if all(isinstance(size, int) for size in found) and len(set(found)) > 1:
            yield same[0], axis, found


def _formulas(differences: Sequence[_Difference]) -> list[_Formula]:
    """How each integer follows from sizes of tensors; raises UserError where one does not."""
    return [_formula(part) for part in differences]


def _formula(wanted: _Difference) -> _Formula:
    values = wanted.values
    for node, axis, sizes in wanted.sizes:
        if sizes == values:
            return lambda graph, node=node, axis=axis: _size(graph, node, axis)  # type: ignore[misc]
    for node in dict.fromkeys(node for node, *_ in wanted.sizes):
        axes = [(axis, sizes) for other, axis, sizes in wanted.sizes if other is node]
        if len(axes) == 2 and all(a * b == v for a, b, v in zip(axes[0][1], axes[1][1], values, strict=True)):
            first, second = sorted(axis for axis, _ in axes)
            return lambda graph, node=node: _call(  # type: ignore[misc]
                graph, operator.mul, _size(graph, node, first), _size(graph, node, second)
            )
    for node, axis, sizes in wanted.sizes:
        found = _affine(sizes, values)
        if found is not None:
            factor, offset = found
            return lambda graph, node=node, axis=axis: _sum(  # type: ignore[misc]
                graph, _times(graph, _size(graph, node, axis), factor), offset
            )
    for node, axis, sizes in wanted.sizes:
        divisor = sizes[0] // values[0] if values[0] > 0 else 0
        if 1 < divisor <= _MOST and all(size // divisor == value for size, value in zip(sizes, values, strict=True)):
            return lambda graph, node=node, axis=axis: _call(  # type: ignore[misc]
                graph, operator.floordiv, _size(graph, node, axis), divisor
            )
    raise UserError(f"{_where(wanted.node)} takes {values[0]}, which follows from no size of a tensor in front")


def _affine(sizes: tuple[int, ...], values: tuple[int, ...]) -> tuple[int, int] | None:
    """value = factor * size + offset for all."""
    steps = [(b - a, d - c) for a, b, c, d in zip(sizes, sizes[1:], values, values[1:], strict=False) if a != b]
    if not steps or steps[0][1] % steps[0][0]:
        return None
    factor = steps[0][1] // steps[0][0]
    offset = values[0] - factor * sizes[0]
    fits = all(factor * size + offset == value for size, value in zip(sizes, values, strict=True))
    return (factor, offset) if fits and 0 < factor <= _MOST else None


def _size(graph: fx.Graph, node: fx.Node, axis: int) -> fx.Node:
    return _call(graph, torch.ops.aten.sym_size.int, node, axis)


def _times(graph: fx.Graph, size: fx.Node, factor: int) -> fx.Node:
    return size if factor == 1 else _call(graph, operator.mul, size, factor)


def _sum(graph: fx.Graph, size: fx.Node, offset: int) -> fx.Node:
    return size if offset == 0 else _call(graph, operator.add, size, offset)


def _call(graph: fx.Graph, function: Any, *args: Any) -> fx.Node:
    return graph.call_function(function, args)


def _write(gm: fx.GraphModule, differences: Sequence[_Difference]) -> None:
    made: dict[Any, fx.Node] = {}
    for difference, formula in zip(differences, _formulas(differences), strict=True):
        node = difference.node
        key = (node, difference.values)
        if key not in made:
            with gm.graph.inserting_before(node):
                made[key] = formula(gm.graph)
        args, kwargs = difference.path[0], difference.path[1:]
        if args == 0:
            node.args = _with(node.args, kwargs, made[key])
        else:
            node.kwargs = _with(dict(node.kwargs), kwargs, made[key])


def _with(value: Any, path: tuple[Any, ...], part: fx.Node) -> Any:
    """A copy of nested lists in which one place holds another part."""
    if not path:
        return part
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: _with(value[key], tuple(rest), part)}
    return type(value)(_with(each, tuple(rest), part) if place == key else each for place, each in enumerate(value))


def _where(node: fx.Node) -> str:
    path = module_path(node)
    return f"'{op_name(node) or node.name}'" + (f" of module '{path}'" if path else "")
