"""Sums of two 8-bit products that 16 bits cannot hold: do the differences go when all weight codes are halved?

x86 processors without VNNI add products in pairs that saturate at 32,767; halved weight codes never reach that. It is
tried only where the runtime gets a convolution wrong whose result is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from runtime_tests.qdq_file.copies import copy_of
from runtime_tests.qdq_file.experiments.scene import LEFT, REFERENCE, Finding, Scene
from runtime_tests.qdq_file.graph import PRODUCTS, Graph, Quantizer
from runtime_tests.qdq_file.session import Opened

SATURATING = "sums of two products saturate at 16 bits on this processor"


def saturating_sums(scene: Scene, suspects: Sequence[Quantizer]) -> Mapping[str, Finding]:
    """Halve the weight codes of the layers in question, in the reference and in the runtime."""
    tried = [item for item in suspects if item.layers]
    if not tried or scene.manner.exact_sums or not _saturates(scene):
        return {}
    copy, halved = with_halved_weights(scene.fed, {layer for item in tried for layer in item.layers})
    tensors = [item.tensor for item in tried]
    right, found = (scene.runs(copy, manner, tensors) for manner in (REFERENCE, scene.manner))
    return {
        item.tensor: _finding(scene, item, scene.left(item, right, found))
        for item in tried
        if halved.intersection(item.layers)
    }


def _saturates(scene: Scene) -> bool:
    with Opened(scene.fed, scene.manner, scene.limit) as opened:
        return opened.saturates()


def _finding(scene: Scene, item: Quantizer, left: int) -> Finding:
    before = scene.wrong(item)
    evidence = f"with halved weight codes {left:,} codes differ, not {before:,}; a sum that is known saturates here"
    if left > LEFT * before:
        return Finding(None, evidence)
    return Finding(SATURATING, evidence)


def with_halved_weights(model: onnx.ModelProto, layers: set[str]) -> tuple[onnx.ModelProto, set[str]]:
    """A copy whose layers have weight codes of half the size, towards zero; and those that have 8-bit weight codes."""
    copy = copy_of(model)
    graph = Graph(copy)
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    halved = set[str]()
    for node in copy.graph.node:
        if node.output[0] in layers and node.op_type in PRODUCTS:
            codes = _weight_codes(node, graph)
            if codes in stored:
                half = (numpy_helper.to_array(stored[codes]) / 2).astype(np.int8)
                stored[codes].CopyFrom(numpy_helper.from_array(half, codes))
                halved.add(node.output[0])
    return copy, halved


def _weight_codes(node: Any, graph: Graph) -> str:
    """The initializer of a layer's int8 weight codes; empty where it has none."""
    dequantize = graph.producer.get(node.input[1])
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return ""
    is_int8 = graph.element_type(dequantize.input[0]) == onnx.TensorProto.INT8
    return str(dequantize.input[0]) if is_int8 else ""
