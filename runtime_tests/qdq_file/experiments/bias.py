"""Biases: does the reference give the runtime's codes with the bias that an integer kernel has?

An integer kernel adds the bias to its int32 sums, in steps of input scale times weight scale: a float bias is rounded
to these steps. (Int32 codes of another scale keep ONNX Runtime 1.32 from taking its kernel.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from runtime_tests.qdq_file.copies import copy_of
from runtime_tests.qdq_file.experiments.scene import LEFT, REFERENCE, Finding, Scene
from runtime_tests.qdq_file.graph import Graph, Quantizer

_BIAS = 2  # of the inputs of a layer
_CHANGED = "/as_integers"


@dataclass(frozen=True)
class Bias:
    """A float bias of a layer, float32 [C]: as the file has it, and as an integer kernel adds it."""

    layer: str
    given: NDArray[np.float32]
    as_integers: NDArray[np.float32]


def integer_bias(scene: Scene, suspects: Sequence[Quantizer]) -> Mapping[str, Finding]:
    """Compute the reference with the biases of integer kernels, and hold the runtime's codes against that."""
    graph = Graph(scene.fed)
    biases = {item.tensor: bias for item in suspects if (bias := bias_of(item, graph)) is not None}
    tried = [item for item in suspects if item.tensor in biases]
    if not tried:
        return {}
    copy = with_biases(scene.fed, list(biases.values()))
    changed = scene.runs(copy, REFERENCE, [item.tensor for item in tried])
    return {item.tensor: _finding(scene, item, biases[item.tensor], changed) for item in tried}


def _finding(scene: Scene, item: Quantizer, bias: Bias, changed: Sequence[Any]) -> Finding:
    before, left = scene.wrong(item), scene.left(item, changed, scene.found)
    evidence = (
        f"with the bias of {bias.layer} as an integer kernel has it, the reference differs from the runtime in {left:,}"
        f" codes, not {before:,}"
    )
    if left > LEFT * before:
        return Finding(None, evidence)
    largest = float(np.abs(bias.as_integers - bias.given).max())
    return Finding(
        f"the runtime rounds the float bias to int32 steps of input scale times weight scale, by up to {largest:.2g}",
        evidence,
    )


def bias_of(item: Quantizer, graph: Graph) -> Bias | None:
    """The float bias of the one layer in front of a quantizer, where an integer kernel would have another one."""
    if len(item.layers) != 1:
        return None
    node = graph.producer[item.layers[0]]
    given = graph.constant(node.input[_BIAS]) if node.op_type != "MatMul" and len(node.input) > _BIAS else None
    scales = [_scale(name, graph) for name in node.input[:2]]
    if given is None or scales[0] is None or scales[1] is None or scales[0].size != 1:
        return None
    step = (scales[0] * scales[1]).astype(np.float32).reshape(-1)
    as_integers = (np.rint(given / step) * step).astype(np.float32)
    return None if np.array_equal(given, as_integers) else Bias(node.output[0], given, as_integers)


def _scale(name: str, graph: Graph) -> NDArray[np.float32] | None:
    """Of the DequantizeLinear that gives a tensor."""
    node = graph.producer.get(name)
    found = graph.constant(node.input[1]) if node is not None and node.op_type == "DequantizeLinear" else None
    return None if found is None else found.astype(np.float32)


def with_biases(model: onnx.ModelProto, biases: Sequence[Bias]) -> onnx.ModelProto:
    """A copy whose layers add what integer kernels add."""
    copy = copy_of(model)
    by_layer = {bias.layer: bias for bias in biases}
    for node in copy.graph.node:
        bias = by_layer.get(node.output[0])
        if bias is not None:
            node.input[_BIAS] = f"{bias.layer}{_CHANGED}"
            copy.graph.initializer.append(numpy_helper.from_array(bias.as_integers, f"{bias.layer}{_CHANGED}"))
    return copy
