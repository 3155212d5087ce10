"""A mean over the whole image as the operator of its own that ONNX has for it.

ONNX Runtime computes GlobalAveragePool between codes in integers (QLinearGlobalAveragePool: sums of codes in int32,
times one float32 number), and ReduceMean in float between a DequantizeLinear and a QuantizeLinear. Where the one scale
is a power of two times the other, sums fall on ties, which a product with a rounded 1 / (H W) may miss: such a mean
stays as it is.
"""

import math

import numpy as np
import onnx_ir as ir

_SPATIAL = ([2, 3], [3, 2], [-2, -1], [-1, -2], [-1, 2], [2, -1])


class PoolGlobally(ir.passes.InPlacePass):
    """ReduceMean over height and width of [N, C, H, W] becomes GlobalAveragePool, with a Flatten where axes go."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every such node."""
        changed = False
        for node in list(model.graph):
            is_mean = node.op_type == "ReduceMean" and node.domain == ""
            if is_mean and _is_over_the_image(node) and not _falls_on_ties(node):
                _replace(model.graph, node)
                changed = True
        return ir.passes.PassResult(model, changed)


def _is_over_the_image(node: ir.Node) -> bool:
    x, axes = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    constant = None if axes is None else ir.convenience.get_const_tensor(axes)
    if x is None or x.shape is None or len(x.shape) != 4 or constant is None:
        return False
    return np.asarray(constant.numpy()).flatten().tolist() in _SPATIAL


def _falls_on_ties(node: ir.Node) -> bool:
    """Is the scale in front a power of two times one behind?"""
    before = [_scale(value.producer()) for value in node.inputs[:1] if value is not None]
    behind = [_scale(reader) for reader in _readers(node.outputs[0])]
    ratios = [a / b for a in before for b in behind if a is not None and b is not None]
    return any(math.frexp(ratio)[0] == 0.5 for ratio in ratios)


def _readers(value: ir.Value) -> list[ir.Node]:
    """Who reads a tensor, behind a change of its shape."""
    found = []
    for reader in value.consumers():
        moved = reader.op_type in ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
        found += _readers(reader.outputs[0]) if moved else [reader]
    return found


def _scale(node: ir.Node | None) -> float | None:
    """Of a quantizer or a dequantizer."""
    if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.inputs[1] is None:
        return None
    constant = ir.convenience.get_const_tensor(node.inputs[1])
    return float(constant.numpy()) if constant is not None and constant.size == 1 else None


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    (x, axes), given = node.inputs, node.outputs[0]
    assert x is not None and axes is not None
    keeps = bool(node.attributes.get_int("keepdims", 1))
    pooled = ir.node("GlobalAveragePool", [x], name=node.name)
    made = [pooled] if keeps else [pooled, ir.node("Flatten", [pooled.outputs[0]], {"axis": 1})]
    last = made[-1].outputs[0]
    last.name, last.shape, last.type = given.name, given.shape, given.type
    if not keeps:
        pooled.outputs[0].type = given.type
    ir.convenience.replace_nodes_and_values(graph, node, [node], made, [given], [last])
    if axes.is_initializer() and not axes.uses():  # which the runtime would warn of
        del graph.initializers[str(axes.name)]
