"""Codes are moved in place of the numbers that they stand for, where a runtime would lose the pattern of a layer.

    QuantizeLinear -> DequantizeLinear -> Slice, Concat, Pad, ... -> MatMul

ONNX Runtime looks for a DequantizeLinear in front of a layer, and looks through a Reshape or a Transpose alone. Behind
what else moves numbers (windows that are shifted, images that are padded) it computes the layer in float. The same
operators on codes, and one DequantizeLinear behind them, give the same numbers:

    QuantizeLinear -> Slice, Concat, Pad, ... -> DequantizeLinear -> MatMul
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor
from onnx_ir.passes.common import RemoveUnusedNodesPass

_LAYERS = ("Conv", "MatMul", "Gemm")
_SEEN_THROUGH = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool")
_HIDING = ("Slice", "Concat", "Pad", "Expand", "Gather", "Split", "DepthToSpace", "SpaceToDepth", "Tile", "Identity")

_Constants = tuple[bytes, bytes]  # of scale and zero-point


class MoveCodes(ir.passes.InPlacePass):
    """Let layers read a DequantizeLinear directly; for runtimes that fuse the two."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Write what moves numbers towards layers a second time, on codes; what nobody reads any more is dropped."""
        moved = _Moved(model.graph)
        changed = False
        for layer in list(model.graph):
            for position, value in enumerate(layer.inputs[:2]):
                if layer.op_type in _LAYERS and value is not None and _is_hidden(layer, value):
                    found = moved.numbers_of(value)
                    if found is not None:
                        layer.replace_input_with(position, found)
                        changed = True
        if changed:
            RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=changed)


def _is_hidden(layer: ir.Node, value: ir.Value) -> bool:
    """Is there anything but what the runtime looks through? It moves a Pad with zeros into a convolution by itself."""
    moves = list(on_the_way(value))
    if layer.op_type == "Conv" and len(moves) == 1 and moves[0].op_type == "Pad":
        return _pads_with(moves[0]) != 0
    return any(node.op_type in _HIDING for node in moves)


def moves_numbers(node: ir.Node) -> bool:
    """Does it only move numbers?"""
    return node.op_type in (*_SEEN_THROUGH, *_HIDING)


def on_the_way(value: ir.Value) -> Iterator[ir.Node]:
    """What moves numbers between a value and the quantizers that it comes from."""
    waiting, seen = [value], set()
    while waiting:
        node = waiting.pop().producer()
        if node is not None and node not in seen and moves_numbers(node):
            seen.add(node)
            yield node
            waiting += _data(node)


def _data(node: ir.Node) -> list[ir.Value]:
    """The inputs whose numbers are moved."""
    inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return [value for value in inputs if value is not None]


def _pads_with(pad: ir.Node) -> float | None:
    """The number that a Pad puts in; None where it repeats what is there."""
    if pad.attributes.get_string("mode", "constant") != "constant":
        return None
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    if value is None:
        return 0.0
    content = get_const_tensor(value)
    return float("nan") if content is None else float(content.numpy())


class _Moved:
    """What was written on codes so far, by the value that it stands for."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._codes: dict[ir.Value, tuple[ir.Value, ir.Node] | None] = {}
        self._numbers: dict[ir.Value, ir.Value] = {}

    def numbers_of(self, value: ir.Value) -> ir.Value | None:
        """The value, dequantized behind what moves it; None where not all of it comes from one grid."""
        if value not in self._numbers:
            found = self._codes_of(value)
            if found is None:
                return None
            codes, quantizer = found
            node = ir.node("DequantizeLinear", [codes, *quantizer.inputs[1:]], name=f"{codes.name}/dequantized")
            self._place(node, codes, value, node.name or "", ir.DataType.FLOAT)
            self._numbers[value] = node.outputs[0]
        return self._numbers[value]

    def _codes_of(self, value: ir.Value) -> tuple[ir.Value, ir.Node] | None:
        """Codes of a value, and the DequantizeLinear that says what they stand for."""
        if value not in self._codes:
            self._codes[value] = self._moved(value)
        return self._codes[value]

    def _moved(self, value: ir.Value) -> tuple[ir.Value, ir.Node] | None:
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "DequantizeLinear":
            codes = node.inputs[0]
            return (codes, node) if codes is not None and _constants(node) is not None else None
        if not moves_numbers(node):
            return None
        parts = [self._codes_of(source) for source in _data(node)]
        if None in parts or len({_constants(part[1]) for part in parts if part is not None}) != 1:
            return None
        known = [part for part in parts if part is not None]
        inputs = [part[0] for part in known] + [*node.inputs[len(known) :]]
        quantizer = known[0][1]
        if node.op_type == "Pad" and _pads_with(node) is not None:
            if _pads_with(node) != 0:
                return None
            inputs = [*inputs[:2], quantizer.inputs[2], *inputs[3:]]
        copy = ir.node(
            node.op_type,
            inputs,
            node.attributes,
            num_outputs=len(node.outputs),
            name=f"{node.name}/codes_moved",
        )
        self._place(copy, value, value, f"{value.name}/codes_moved", quantizer.inputs[2].dtype)  # type: ignore[union-attr]
        for made, like in zip(copy.outputs, node.outputs, strict=True):
            made.name = f"{like.name}/codes_moved"
            made.type, made.shape = ir.TensorType(quantizer.inputs[2].dtype), like.shape  # type: ignore[union-attr, arg-type]
            self._codes[like] = (made, quantizer)
        return copy.outputs[value.index() or 0], quantizer

    def _place(self, node: ir.Node, behind: ir.Value, like: ir.Value, name: str, kind: ir.DataType | None) -> None:
        """Put a node behind the one that made a value; what it gives has the shape of `like`."""
        producer = behind.producer()
        assert producer is not None and kind is not None
        self._graph.insert_after(producer, node)
        node.outputs[0].name = name
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(kind), like.shape


def _constants(dequantize: ir.Node) -> _Constants | None:
    """Scale and zero-point of a whole tensor; None where there is one a channel, or where they are computed."""
    found = []
    for value in dequantize.inputs[1:3]:
        content = None if value is None else get_const_tensor(value)
        if content is None or content.size != 1:
            return None
        found.append(np.ascontiguousarray(content.numpy()).tobytes())
    return (found[0], found[1]) if len(found) == 2 else None
