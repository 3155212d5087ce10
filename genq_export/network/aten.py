"""Nodes of a graph of ATen operators: what they compute, where they come from, what only moves numbers."""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from genq_export.network.arguments import INTEGER_OPERATORS


def op_name(node: fx.Node) -> str:
    """`conv2d` for `aten.conv2d.default`; empty for nodes that call no ATen operator."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return ""
    return node.target._schema.name.removeprefix("aten::")


def module_path(node: fx.Node) -> str:
    """Path of the innermost module that the node came from, `layer1.0.conv1`; empty at the top."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return "" if path.startswith("_empty_nn_module_stack") else path


def is_constant(node: object) -> bool:
    """Is the value fixed once the network is (a parameter, or computed from parameters alone)?"""
    if not isinstance(node, fx.Node):
        return True
    waiting, seen = [node], {node}
    while waiting:  # not by recursion: networks are deeper than Python's stack
        part = waiting.pop()
        if part.op == "placeholder":
            return False
        fresh = set(part.all_input_nodes) - seen
        seen |= fresh
        waiting += fresh
    return True


def is_repeatable(node: fx.Node) -> bool:
    """Does the node call an operator that gives the same for the same?"""
    if isinstance(node.target, torch._ops.OpOverload):
        return torch.Tag.nondeterministic_seeded not in node.target.tags
    return node.target in INTEGER_OPERATORS


def attribute(module: nn.Module, target: str) -> Tensor:
    """The tensor that a get_attr node names."""
    found: Any = operator.attrgetter(target)(module)
    assert isinstance(found, Tensor)
    return found


def called_module(network: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None where it calls none."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def new_constant(gm: fx.GraphModule, wanted: str, value: Tensor) -> fx.Node:
    """A get_attr node for a new buffer; a module that is called twice gets two."""
    name, number = wanted, 2
    while hasattr(gm, name):
        name, number = f"{wanted}_{number}", number + 1
    gm.register_buffer(name, value.detach().clone())
    return gm.graph.get_attr(name)


LAYERS = ("conv2d", "linear")
DATA_MOVEMENT_OPS = (
    "max_pool2d", "flatten", "reshape", "permute", "transpose", "unsqueeze", "squeeze", "expand", "pad", "roll",
    "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip
_PADS_BY_MOVING = ("reflect", "replicate", "circular")
AVERAGE_POOLS = ("adaptive_avg_pool2d", "avg_pool2d", "mean")
NON_NEGATIVE_OPS = ("relu", "relu6", "softmax", "sigmoid", "hardsigmoid")
SHORT_NEGATIVE_TAIL_OPS = ("gelu", "silu", "hardswish")


def moves_numbers(node: fx.Node) -> bool:
    """Are the codes of what the node gives codes of its input, and zero where it pads?

    Padding with another number is not on the grid. A constant that is repeated for every image is where its numbers
    begin: in front of that it would be no activation.
    """
    name = op_name(node)
    if name == "pad":
        mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode")
        value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
        return mode in _PADS_BY_MOVING or not value
    return name in DATA_MOVEMENT_OPS and not (name == "expand" and is_constant(node.args[0]))


def root_of(node: fx.Node) -> fx.Node:
    """The node that computed the numbers that `node` holds, before operators that only move them.

    What flattens a pooled mean counts as part of the pooling: a quantizer behind it leaves nothing between the
    quantizer and the classifier.
    """
    while moves_numbers(node):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if op_name(source) in AVERAGE_POOLS:
            return node
        node = source
    return node


def readers_of(node: fx.Node) -> Iterator[fx.Node]:
    """Who computes with the numbers that `node` holds, behind operators that only move them (padding adds numbers)."""
    for reader in node.users:
        if moves_numbers(reader) and op_name(reader) != "pad":
            yield from readers_of(reader)
        elif op_name(reader) != "sym_size":
            yield reader
