"""Biases: does the reference give the runtime's codes with the bias that an integer kernel has?

An integer kernel adds the bias to its int32 sums, in steps of input scale times weight scale: a float bias is rounded
to these steps. (Int32 codes of another scale keep ONNX Runtime 1.32 from taking its kernel.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from runtime_tests.qdq_file.copies import copy_of
from runtime_tests.qdq_file.experiments.border import at_the_border
from runtime_tests.qdq_file.experiments.scene import LEFT, REFERENCE, Finding, Scene
from runtime_tests.qdq_file.graph import Graph, Quantizer
from runtime_tests.qdq_file.loading import Arrays
from runtime_tests.qdq_file.session import differing

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
    return {item.tensor: _finding(scene, copy, item, biases[item.tensor], changed) for item in tried}


def _finding(scene: Scene, copy: onnx.ModelProto, item: Quantizer, bias: Bias, changed: Sequence[Arrays]) -> Finding:
    """Is nothing left but single codes at the border of two, seen from the changed reference?"""
    name, before = item.tensor, scene.wrong(item)
    found = [codes.get(name, right[name]) for right, codes in zip(scene.expected, scene.found, strict=True)]
    left = sum(differing(codes[name], other) for codes, other in zip(changed, found, strict=True))
    evidence = (
        f"with the bias of {bias.layer} as an integer kernel has it, the reference differs from the runtime in {left:,}"
        f" codes, not {before:,}"
    )
    behind = left > LEFT * before
    if behind and (left >= before or not _at_the_border(scene, copy, item, changed, found)):
        return Finding(None, evidence)
    largest = float(np.abs(bias.as_integers - bias.given).max())
    told = f"the runtime rounds the float bias to int32 steps of input scale times weight scale, by up to {largest:.2g}"
    return Finding(told + (f"; float rounding decides {left:,} at the border of two codes" if behind else ""), evidence)


def _at_the_border(
    scene: Scene, copy: onnx.ModelProto, item: Quantizer, changed: Sequence[Arrays], found: Sequence[NDArray[Any]]
) -> bool:
    """Do the codes that still differ lie there, by what the changed reference rounds?"""
    name = item.tensor
    expected = [{**right, name: codes[name]} for right, codes in zip(scene.expected, changed, strict=True)]
    then = replace(scene, fed=copy, expected=expected, found=[{name: codes} for codes in found])
    return at_the_border(then, [item])[name].explanation is not None


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
