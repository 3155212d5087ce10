"""A signed grid that a runtime would hold shifted by 128: numbers are rounded first, and shifted as whole numbers.

    x -> QuantizeLinear (s, z)     becomes     x -> Clip -> Mul (1 / s) -> Round -> QuantizeLinear (1, z)

the codes read as before. Of a signed tensor that a convolution reads OpenVINO makes UINT8, in which it rounds
x * (1 / s) + 128: float32 has fewer digits there, and a number beside a border between two codes gets the other one.
A whole number it shifts without error. The Clip, to what float32 holds, changes no number; it keeps 1 / s out of the
scales of a layer in front, where it would be multiplied in another order, and is part of that layer's kernel, as are
the others. (A Max would be a kernel of its own.) [ours]
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor

from export.passes.move_codes import moves_numbers
from genq_export.network.containers import reciprocal

# Of a narrower grid less is lost: at 6 bits no code of 512 images of `fashion_mobilenet` was another, at 8 some were.
_FEWEST = 65


class RoundInFloat(ir.passes.InPlacePass):
    """Round in front of quantizers to INT8 whose codes a convolution reads."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Put the operators in front of each; those of fewer than 65 codes stay."""
        changed = False
        for quantizer in [node for node in model.graph if node.op_type == "QuantizeLinear"]:
            zero = _known(quantizer.inputs[2]) if len(quantizer.inputs) > 2 else None
            if zero is None or zero.dtype != ir.DataType.INT8 or _codes(quantizer) < _FEWEST:
                continue
            if any(node.op_type == "Conv" for node in _readers(quantizer.outputs[0])):
                _round_first(model.graph, quantizer, int(zero.numpy()))
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _codes(quantizer: ir.Node) -> int:
    """How many codes its grid has; a Clip behind it says where it ends."""
    for reader in quantizer.outputs[0].consumers():
        ends = [_known(end) for end in reader.inputs[1:3]] if reader.op_type == "Clip" else []
        if len(ends) == 2 and None not in ends:
            return int(ends[1].numpy()) - int(ends[0].numpy()) + 1  # type: ignore[union-attr]
    return 256


def _readers(codes: ir.Value) -> Iterator[ir.Node]:
    """What computes with codes, past their limits, their scale and what moves numbers."""
    waiting, seen = [codes], set()
    while waiting:
        for node in waiting.pop().consumers():
            if node in seen:
                continue
            seen.add(node)
            if node.op_type in ("Clip", "DequantizeLinear") or moves_numbers(node):
                waiting += node.outputs
            else:
                yield node


def _round_first(graph: ir.Graph, quantizer: ir.Node, zero: int) -> None:
    x, scale = quantizer.inputs[0], _known(quantizer.inputs[1])
    assert x is not None and scale is not None, "an activation has one scale, which is a constant"
    name = quantizer.outputs[0].name
    steps: list[tuple[str, list[ir.Value], str]] = []
    if not _is_sum_or_input(x):
        limits = np.finfo(np.float32)
        ends = [_constant(graph, "lowest_float32", limits.min), _constant(graph, "largest_float32", limits.max)]
        steps.append(("Clip", ends, f"{name}/number"))
    factor = reciprocal(np.float32(scale.numpy()), (-128 - zero, 127 - zero))
    steps += [
        ("Mul", [_constant(graph, f"{name}/reciprocal", factor)], f"{name}/steps"),
        ("Round", [], f"{name}/whole"),
    ]
    for kind, constants, made in steps:
        node = ir.node(kind, [x, *constants], name=made)
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = made, x.type, x.shape
        graph.insert_before(quantizer, node)
        x = node.outputs[0]
    quantizer.replace_input_with(0, x)
    quantizer.replace_input_with(1, _constant(graph, "one", np.float32(1)))


def _is_sum_or_input(x: ir.Value) -> bool:
    """Is there nothing in front whose scale could take a factor in?"""
    node = x.producer()
    return node is None or (node.op_type == "Add" and all(_known(term) is None for term in node.inputs))


def _known(value: ir.Value | None) -> ir.TensorProtocol | None:
    """A constant; None for what is computed, and for an input that is left out."""
    return None if value is None else get_const_tensor(value)


def _constant(graph: ir.Graph, name: str, number: np.float32) -> ir.Value:
    if name in graph.initializers:
        return graph.initializers[name]
    content = ir.tensor(np.array(number, np.float32), name=name)
    made = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(()), const_value=content)
    graph.register_initializer(made)
    return made
