"""TensorRT's rules for explicit quantization, checked on an ONNX file before anything is built.

What the parser refuses, what the builder takes silently wrong, and what it silently keeps in float, as measured with
TensorRT-RTX 1.7.1 (docs/numerics.md); every finding names the node, the reason and the remedy.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper

from export.audit.onnxruntime import LayerAudit, read_onnx

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_MOVES_NUMBERS = (
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Pad", "Slice", "Expand", "Concat",
    "Identity", "Split",
)  # fmt: skip
_INT4 = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)


def audit_tensorrt(path: Path) -> list[LayerAudit]:
    """Every convolution, Gemm and MatMul of a QDQ file by TensorRT's rules, without building it.

    A layer runs in int8 where both inputs come from DequantizeLinear of int8 with zero-point 0, the activation with one
    scale, the weight with one scale a channel on axis 0. Where it does not, the reason says what to change. Other
    quantizers that TensorRT would refuse or compute wrong, on additions and poolings, have rows of their own.
    """
    model = read_onnx(path)
    graph = _Graph(model)
    layers = [node for node in model.graph.node if node.op_type in _LAYERS]
    rows = [_judge(graph, node) for node in layers]
    judged = {id(source) for node in layers for source in map(graph.source, node.input) if source is not None}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and id(node) not in judged:
            problem = next(_type_problems(graph, node, "the tensor"), None)
            if problem is not None:
                rows.append(LayerAudit(node.name or node.output[0], node.op_type, False, problem))
    return rows


class _Graph:
    """Look-ups over one ONNX graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.producer = {output: node for node in model.graph.node for output in node.output}
        self.initializer = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR:
                self.initializer[node.output[0]] = node.attribute[0].t

    def source(self, name: str) -> onnx.NodeProto | None:
        """The node that computed a tensor, behind operators that only move numbers."""
        node = self.producer.get(name)
        while node is not None and node.op_type in _MOVES_NUMBERS:
            node = self.producer.get(node.input[0])
        return node

    def zero_point(self, node: onnx.NodeProto) -> onnx.TensorProto | None:
        """The zero-point of a QuantizeLinear or DequantizeLinear, where it has a constant one."""
        return self.initializer.get(node.input[2]) if len(node.input) > 2 else None


def _judge(graph: _Graph, node: onnx.NodeProto) -> LayerAudit:
    name = node.name or node.output[0]
    problem = next(_problems(graph, node), None)
    return LayerAudit(name, node.op_type, problem is None, problem or "int8 x int8, int32 sums")


def _problems(graph: _Graph, node: onnx.NodeProto) -> Iterator[str]:
    for position, name in enumerate(node.input[:2]):
        dequantize = graph.source(name)
        if dequantize is not None and dequantize.op_type == "Clip" and _is_dequantized(graph, dequantize):
            yield f"a Clip behind the DequantizeLinear of input {position} keeps it float: clip before quantizing"
        elif dequantize is None or dequantize.op_type != "DequantizeLinear":
            yield f"input {position} does not come from a DequantizeLinear: quantize it"
        else:
            yield from _input_problems(graph, node, dequantize, position)
    if len(node.input) > 2:
        bias = graph.producer.get(node.input[2])
        if bias is not None and bias.op_type == "DequantizeLinear":
            yield "the bias comes through an INT32 DequantizeLinear, which TensorRT refuses: store it as float"


def _is_dequantized(graph: _Graph, clip: onnx.NodeProto) -> bool:
    before = graph.source(clip.input[0])
    return before is not None and before.op_type == "DequantizeLinear"


def _input_problems(graph: _Graph, layer: onnx.NodeProto, dequantize: onnx.NodeProto, position: int) -> Iterator[str]:
    constant = dequantize.input[0] in graph.initializer
    cast = graph.producer.get(dequantize.input[0])
    if cast is not None and cast.op_type == "Cast" and cast.input[0] in graph.initializer:
        yield f"input {position} is stored in 4 bits behind a Cast, which TensorRT refuses: store it as INT8"
    if constant and graph.initializer[dequantize.input[0]].data_type in _INT4:
        yield from _four_bit_problems(graph, layer, dequantize, position)
    yield from _type_problems(graph, dequantize, f"input {position}")
    scale = graph.initializer.get(dequantize.input[1])
    if scale is not None and len(scale.dims) > 0 and numpy_helper.to_array(scale).size > 1:
        axis = next((attribute.i for attribute in dequantize.attribute if attribute.name == "axis"), 1)
        if not constant:
            yield f"input {position} has one scale a channel, which stays float: give activations one scale a tensor"
        elif axis != 0:
            yield f"the weight's scales lie on axis {axis}, which stays float: put output channels and scales on axis 0"


def _four_bit_problems(
    graph: _Graph, layer: onnx.NodeProto, dequantize: onnx.NodeProto, position: int
) -> Iterator[str]:
    """INT4 weights: refused on convolutions, silently wrong beside INT8 activations, fine beside float ones."""
    if layer.op_type in ("Conv", "ConvTranspose"):
        yield f"input {position} is not stored as INT8: TensorRT refuses INT4 on convolutions; 4-bit codes fit in INT8"
    other = graph.source(layer.input[1 - position])
    if other is not None and other.op_type == "DequantizeLinear":
        blocks = any(attribute.name == "block_size" and attribute.i for attribute in dequantize.attribute)
        how = "in blocks " if blocks else ""
        yield (
            f"input {position} is not stored as INT8: INT4 weights {how}beside INT8 activations are computed silently"
            " wrong; store them as INT8, one scale a channel"
        )
    yield f"input {position} is INT4: its layer computes in float with 4-bit weights"


def _type_problems(graph: _Graph, dequantize: onnx.NodeProto, what: str) -> Iterator[str]:
    """Types, zero-points and scales that no tensor may have on TensorRT."""
    zero_point = graph.zero_point(dequantize)
    stored = graph.initializer.get(dequantize.input[0])
    kind = zero_point.data_type if zero_point is not None else stored.data_type if stored is not None else None
    quantize = graph.producer.get(dequantize.input[0])
    if kind is None and quantize is not None and quantize.op_type == "QuantizeLinear":
        first = graph.zero_point(quantize)
        kind = onnx.TensorProto.UINT8 if first is None else first.data_type
    if kind == onnx.TensorProto.UINT8:
        yield f"{what} is UINT8, which TensorRT silently clamps at 127: quantize to INT8 with --target tensorrt"
    elif kind is not None and kind not in (onnx.TensorProto.INT8, onnx.TensorProto.INT32, *_INT4):
        name = onnx.TensorProto.DataType.Name(kind)
        yield f"{what} is {name}, which TensorRT refuses: quantize to INT8"
    if zero_point is not None and numpy_helper.to_array(zero_point).any():
        yield f"{what} has a nonzero zero-point, which TensorRT refuses: quantize with --target tensorrt"
    scale = graph.initializer.get(dequantize.input[1])
    if scale is not None and (numpy_helper.to_array(scale) <= 0).any():
        yield f"{what} has a scale that is not positive, which TensorRT refuses: quantize again"
