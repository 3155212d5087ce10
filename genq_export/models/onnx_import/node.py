"""One node of an ONNX graph as its operator's translation sees it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor, nn

from genq_export.core.errors import UserError
from genq_export.models.onnx_import.container import shown
from genq_export.models.onnx_import.network import Operator, Sizes
from genq_export.models.onnx_import.tree import layer_path
from genq_export.models.onnx_import.values import AsSizes, Value, number

Argument = Value | AsSizes | Sizes


class Emitter(Protocol):
    """What takes the calls that a translation makes."""

    opset: int
    fixed_batch: bool

    def emit(
        self, path: str, module: nn.Module, arguments: Sequence[Argument], results: int, moves: bool = False
    ) -> list[Value]:
        """Have a module called; returns what is known of its results. moves: numbers, and computes none."""

    def weight_name(self, value: Value) -> str:
        """Name of the initializer that a weight comes from."""


class Node:
    """Operator, attributes and inputs of a node, and the way to put modules into the network for it.

    inputs: None where one is left out.
    """

    def __init__(self, proto: NodeProto, inputs: Sequence[Value | None], emitter: Emitter) -> None:
        self.kind, self.outputs = proto.op_type, list(proto.output)
        self.inputs = list(inputs)
        self._name, self._emitter = proto.name, emitter
        self._attributes = {part.name: _attribute(part) for part in proto.attribute}

    @property
    def opset(self) -> int:
        """Of the file."""
        return self._emitter.opset

    @property
    def fixed_batch(self) -> bool:
        """Is the file written for one image? Then what it says of the first axis holds for one image."""
        return self._emitter.fixed_batch

    def attribute(self, name: str, default: Any = None) -> Any:
        """As Python numbers, text, lists or a tensor."""
        return self._attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Is there an input at this place?"""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Value:
        """The input at this place."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise self.refuse(f"input {index} is missing")
        return value

    def fixed(self, index: int) -> Tensor:
        """The numbers of an input that depends neither on pixels nor on the number of images."""
        value = self.input(index)
        if not value.fixed:
            raise self.refuse(f"'{value.name}' decides what it computes, and depends on the image or on the batch")
        return value.tried[0]

    def integers(self, index: int) -> list[int]:
        """As `fixed`, a list of integers."""
        return [int(size) for size in self.fixed(index).flatten().tolist()]

    def listed(self, name: str, index: int) -> list[int] | None:
        """Integers that older opsets hold in an attribute and newer ones in an input; None where neither is given."""
        if self.has(index):
            return self.integers(index)
        found = self.attribute(name)
        return None if found is None else [int(size) for size in found]

    def number(self, index: int, default: Any) -> Any:
        """One number of an input, or the default where it is left out."""
        return number(Value("", (self.fixed(index),), True)) if self.has(index) else default

    def emit(
        self,
        part: nn.Module | Callable[..., Any],
        *arguments: Argument,
        weight: int | None = None,
        moves: bool = False,
        part_of: str = "",
    ) -> Value:
        """Put a call into the network.

        Args:
            part: a module, or a function that is made one.
            arguments: what it is called with.
            weight: index of the input that names the layer.
            moves: the numbers of a weight are those of its input in other places: it stays a weight.
            part_of: what it does for the node, where another call has the node's name.
        """
        return self.emit_many(part, arguments, 1, weight, moves, part_of)[0]

    def emit_many(
        self,
        part: nn.Module | Callable[..., Any],
        arguments: Sequence[Argument],
        results: int,
        weight: int | None = None,
        moves: bool = False,
        part_of: str = "",
    ) -> list[Value]:
        """As `emit`, of something that returns a tuple of `results` tensors."""
        module = part if isinstance(part, nn.Module) else Operator(part)
        named = None if weight is None else self._emitter.weight_name(self.input(weight))
        path = layer_path(named, self._name, self.kind)
        path = f"{path}_{part_of}" if part_of else path
        return self._emitter.emit(path, module, arguments, results, moves)

    def refuse(self, reason: str) -> UserError:
        """An error that names the node."""
        return UserError(f"{shown(self._name, self.outputs)} ({self.kind}): {reason}")


def _attribute(part: Any) -> Any:
    value = helper.get_attribute_value(part)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "data_type"):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return list(value) if not isinstance(value, int | float | str) and hasattr(value, "__iter__") else value
