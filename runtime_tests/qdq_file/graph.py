"""Where a QDQ graph of any tool makes codes, from which other codes, and through which layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

STANDARD = ("", "ai.onnx", "com.microsoft")
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INTEGERS = {
    TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16, TensorProto.UINT4, TensorProto.INT4,
}  # fmt: skip


@dataclass(frozen=True)
class Quantizer:
    """One QuantizeLinear of an activation.

    tensor: its codes; dtype: their element type. source: the float tensor that it rounds; operator: what made that,
    empty for an input of the network. scale, zero_point: constants, None where they are computed; axis: of their
    channels. inputs: the code tensors that it is computed from. layers: outputs of the convolutions, linear layers and
    products in between.
    """

    tensor: str
    dtype: int
    source: str
    operator: str
    scale: NDArray[np.float32] | None
    zero_point: NDArray[np.int64] | None
    axis: int
    inputs: tuple[str, ...]
    layers: tuple[str, ...]

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the largest number that it has a code for; None with several scales, or computed ones."""
        if self.scale is None or self.zero_point is None or self.scale.size != 1:
            return None
        kind = TensorProto.DataType.Name(self.dtype)
        bits = int(kind.lstrip("UINT"))
        least = 0 if kind.startswith("U") else -(2 ** (bits - 1))
        scale, zero = float(self.scale.item()), int(self.zero_point.item())
        return (least - zero) * scale, (least + 2**bits - 1 - zero) * scale

    def steps(self, numbers: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """What is rounded, `x / s + z`; None where scale or zero-point are no constants."""
        if self.scale is None or self.zero_point is None:
            return None
        shape = [1] * numbers.ndim
        if self.scale.size > 1:
            shape[self.axis] = -1
        scale = self.scale.astype(np.float64).reshape(shape)
        zero = self.zero_point.reshape(shape) if self.zero_point.size > 1 else self.zero_point.reshape([1] * len(shape))
        steps: NDArray[np.float64] = numbers.astype(np.float64) / scale + zero
        return steps


class Graph:
    """The tensors of a model by name: who makes them, and which of them are constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.producer = {output: node for node in model.graph.node for output in node.output}
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The numbers of an initializer or a Constant; None for what is computed."""
        found = self._constant(name)
        return None if found is None else numpy_helper.to_array(found)

    def element_type(self, name: str) -> int | None:
        """Of a constant."""
        found = self._constant(name)
        return None if found is None else int(found.data_type)

    def _constant(self, name: str) -> Any:
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            return node.attribute[0].t
        return self._stored.get(name)

    @cached_property
    def live(self) -> set[str]:
        """Tensors that depend on an input of the network."""
        found = {part.name for part in self.model.graph.input if part.name not in self._stored}
        for node in self.model.graph.node:
            if found.intersection(node.input) or node.op_type in ("If", "Loop", "Scan"):
                found.update(node.output)
        return found


def quantize_nodes(graph: Graph) -> Iterator[Any]:
    """Every QuantizeLinear of an activation, to integers, in topological order."""
    for node in graph.model.graph.node:
        is_quantizer = node.op_type == "QuantizeLinear" and node.domain in STANDARD
        if is_quantizer and node.input[0] in graph.live and _dtype(node, graph) in _INTEGERS:
            yield node


def activation_quantizers(model: onnx.ModelProto) -> tuple[Quantizer, ...]:
    """What is known of each, in topological order."""
    graph = Graph(model)
    nodes = list(quantize_nodes(graph))
    codes = {node.output[0] for node in nodes}
    return tuple(_quantizer(node, graph, codes) for node in nodes)


def _quantizer(node: Any, graph: Graph, codes: set[str]) -> Quantizer:
    scale = graph.constant(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.int64)
    producer = graph.producer.get(node.input[0])
    inputs, layers = _behind(node.input[0], graph, codes)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    return Quantizer(
        tensor=node.output[0], dtype=_dtype(node, graph), source=node.input[0],
        operator=producer.op_type if producer is not None else "",
        scale=None if scale is None else scale.astype(np.float32),
        zero_point=None if zero is None else zero.astype(np.int64), axis=axis, inputs=inputs, layers=layers,
    )  # fmt: skip


def _dtype(node: Any, graph: Graph) -> int:
    if len(node.input) > 2 and node.input[2]:
        return graph.element_type(node.input[2]) or int(TensorProto.UINT8)
    named = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
    return named or int(TensorProto.UINT8)


def _behind(start: str, graph: Graph, codes: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Code tensors and products met first on every path back from a tensor."""
    inputs: dict[str, None] = {}
    layers: dict[str, None] = {}
    pending, seen = [start], set[str]()
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name in codes:
            inputs[name] = None
        elif name in graph.producer:
            node = graph.producer[name]
            if node.op_type in PRODUCTS:
                layers[name] = None
            pending.extend(node.input)
    return tuple(inputs), tuple(layers)
