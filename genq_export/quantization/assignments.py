"""Operators that write into a tensor, written out: whoever reads it behind them reads a new tensor."""

from typing import Any

import torch
from torch import fx

from genq_export.network.aten import op_name

_aten = torch.ops.aten
_SCATTERS = {"slice": _aten.slice_scatter.default, "select": _aten.select_scatter.default}
_FILLS = {"fill_": 1, "zero_": 0}  # where the number stands among the arguments; zero_ has none


def write_out_assignments(gm: fx.GraphModule) -> None:
    """`x[:, 1:] = y`, `x[:, :8] *= 2` and `x.relu_()`: what is written goes into a copy of x, which takes its place."""
    for node in list(gm.graph.nodes):
        if not _writes(node):
            continue
        function = _without_writing(node)
        if function is not None and op_name(node.args[0]) not in _SCATTERS:
            node.target = function
            _let_later_readers_read(node.args[0], node, node)
            continue
        with gm.graph.inserting_before(node):
            value = _written(node)
            if value is None:
                continue
            node.replace_all_uses_with(value)
            view = node.args[0]
            result = value
            while op_name(view) in _SCATTERS:
                _let_later_readers_read(view, result, node)
                result = gm.graph.call_function(_SCATTERS[op_name(view)], (view.args[0], result, *view.args[1:]))
                view = view.args[0]
                result.meta = {**node.meta, "val": view.meta["val"]}
        _let_later_readers_read(view, result, node)
        gm.graph.erase_node(node)


def _writes(node: fx.Node) -> bool:
    """Does the node call an operator that writes into its first argument?"""
    name = op_name(node)
    return name.endswith("_") and not name.startswith("_")


def _written(node: fx.Node) -> fx.Node | None:
    """A node for what is written, as a tensor of its own; None where there is no such operator."""
    name, target = op_name(node), node.args[0]
    assert isinstance(target, fx.Node)
    if name == "copy_":
        source = node.args[1]
        assert isinstance(source, fx.Node)
        if _alike(target, source):
            return source
        if source.meta["val"].dtype != target.meta["val"].dtype:
            return None
        return _call(node, _aten.expand_as.default, source, target)
    if name in _FILLS:
        number = node.args[1] if _FILLS[name] else 0
        ones = [1] * target.meta["val"].dim()
        if isinstance(number, fx.Node):
            filled = _call(node, _aten.to.dtype, number, target.meta["val"].dtype)
        else:
            filled = _call(node, _aten.full.default, ones, number, dtype=target.meta["val"].dtype)
        return _call(node, _aten.expand_as.default, filled, target)
    function = _without_writing(node)
    return None if function is None else _call(node, function, *node.args, **node.kwargs)


def _without_writing(node: fx.Node) -> Any:
    """The operator that gives what this one writes; None where there is none of that name."""
    if op_name(node) in (*_FILLS, "copy_"):
        return None
    packet = getattr(_aten, op_name(node).removesuffix("_"), None)
    return getattr(packet, node.target._overloadname, None)  # type: ignore[union-attr]


def _call(node: fx.Node, function: Any, *args: Any, **kwargs: Any) -> fx.Node:
    made = node.graph.call_function(function, args, kwargs)
    made.meta = dict(node.meta)
    return made


def _let_later_readers_read(old: fx.Node, new: fx.Node, behind: fx.Node) -> None:
    for reader in list(old.users):
        if behind < reader:
            reader.replace_input_with(old, new)


def _alike(a: fx.Node, b: fx.Node) -> bool:
    """Have two nodes one shape and one type?"""
    first, second = a.meta["val"], b.meta["val"]
    return bool(first.shape == second.shape) and first.dtype == second.dtype
