"""TensorRT's rules for explicit quantization, checked on an ONNX file before anything is built.

What the parser refuses, what the builder takes silently wrong, and what it silently keeps in float, as measured with
TensorRT-RTX 1.7.1 (docs/numerics.md); every finding names the node, the reason and the remedy.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor

from export.audit.graph import FLOAT_LAYERS, LAYERS, input_of, name_of, producer_of, read_onnx
from export.audit.layer import LayerAudit

_MOVES_NUMBERS = (
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Pad", "Slice", "Expand", "Concat",
    "Identity", "Split",
)  # fmt: skip
_INT4 = (ir.DataType.INT4, ir.DataType.UINT4)
_FLOAT_FORMATS = {
    ir.DataType.FLOAT8E4M3FN: "FP8",
    ir.DataType.FLOAT8E5M2: "FP8",
    ir.DataType.FLOAT4E2M1: "FP4 (NVFP4)",
}


def audit_tensorrt(path: Path) -> list[LayerAudit]:
    """Every operator of a QDQ file that multiplies by TensorRT's rules, without building it.

    A layer runs in int8 where both inputs come from DequantizeLinear of int8 with zero-point 0, the activation with one
    scale, the weight with one scale a channel on axis 0. Where it does not, the reason says what to change. Other
    quantizers that TensorRT would refuse or compute wrong, on additions and poolings, have rows of their own.
    """
    nodes = list(read_onnx(path).graph)
    layers = [node for node in nodes if node.op_type in (*LAYERS, *FLOAT_LAYERS)]
    rows = [_judge(node) for node in layers]
    judged = {_source(value) for node in layers for value in node.inputs}
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node not in judged:
            problem = next(_type_problems(node, "the tensor"), None)
            if problem is not None:
                rows.append(LayerAudit(name_of(node), node.op_type, False, problem))
    return rows


def _source(value: ir.Value | None) -> ir.Node | None:
    """The node that computed a tensor, behind operators that only move numbers."""
    node = producer_of(value)
    while node is not None and node.op_type in _MOVES_NUMBERS:
        node = producer_of(input_of(node, 0))
    return node


def _constant(node: ir.Node, position: int) -> ir.TensorProtocol | None:
    """An input, where it is a constant: an initializer or the output of a Constant."""
    value = input_of(node, position)
    try:
        return None if value is None else get_const_tensor(value)
    except ValueError:  # a Constant of a kind that no quantizer reads
        return None


def _judge(node: ir.Node) -> LayerAudit:
    problem = next(_problems(node), None)
    return LayerAudit(name_of(node), node.op_type, problem is None, problem or "int8 x int8, int32 sums")


def _problems(node: ir.Node) -> Iterator[str]:
    if node.op_type in FLOAT_LAYERS:
        yield "it has no int8 form for this operator: write it as MatMul, Gemm or Conv"
    for position, value in enumerate(node.inputs[:2]):
        dequantize = _source(value)
        if dequantize is not None and dequantize.op_type == "Clip" and _is_dequantized(dequantize):
            yield f"a Clip behind the DequantizeLinear of input {position} keeps it float: clip before quantizing"
        elif dequantize is None or dequantize.op_type != "DequantizeLinear":
            yield f"input {position} does not come from a DequantizeLinear: quantize it"
        else:
            yield from _input_problems(node, dequantize, position)
    bias = producer_of(input_of(node, 2))
    if bias is not None and bias.op_type == "DequantizeLinear":
        yield "the bias comes through an INT32 DequantizeLinear, which TensorRT refuses: store it as float"


def _is_dequantized(clip: ir.Node) -> bool:
    before = _source(input_of(clip, 0))
    return before is not None and before.op_type == "DequantizeLinear"


def _input_problems(layer: ir.Node, dequantize: ir.Node, position: int) -> Iterator[str]:
    stored = _constant(dequantize, 0)
    cast = producer_of(input_of(dequantize, 0))
    if cast is not None and cast.op_type == "Cast" and _constant(cast, 0) is not None:
        yield f"input {position} is stored in 4 bits behind a Cast, which TensorRT refuses: store it as INT8"
    if stored is not None and stored.dtype in _INT4:
        yield from _four_bit_problems(layer, dequantize, position)
    yield from _type_problems(dequantize, f"input {position}")
    scale = _constant(dequantize, 1)
    if scale is not None and len(scale.shape) > 0 and scale.size > 1:
        axis = dequantize.attributes.get_int("axis", 1)
        if stored is None:
            yield f"input {position} has one scale a channel, which stays float: give activations one scale a tensor"
        elif axis != 0:
            yield f"the weight's scales lie on axis {axis}, which stays float: put output channels and scales on axis 0"


def _four_bit_problems(layer: ir.Node, dequantize: ir.Node, position: int) -> Iterator[str]:
    """INT4 weights: refused on convolutions, silently wrong beside INT8 activations, fine beside float ones."""
    if layer.op_type in ("Conv", "ConvTranspose"):
        yield f"input {position} is not stored as INT8: TensorRT refuses INT4 on convolutions; 4-bit codes fit in INT8"
    other = _source(layer.inputs[1 - position])
    if other is not None and other.op_type == "DequantizeLinear":
        how = "in blocks " if dequantize.attributes.get_int("block_size", 0) else ""
        yield (
            f"input {position} is not stored as INT8: INT4 weights {how}beside INT8 activations are computed silently"
            " wrong; store them as INT8, one scale a channel"
        )
    yield f"input {position} is INT4: its layer computes in float with 4-bit weights"


def _type_problems(dequantize: ir.Node, what: str) -> Iterator[str]:
    """Types, zero-points and scales that no tensor may have on TensorRT."""
    kind, zero_point, scale = _kind(dequantize), _constant(dequantize, 2), _constant(dequantize, 1)
    if kind == ir.DataType.UINT8:
        yield f"{what} is UINT8, which TensorRT silently clamps at 127: quantize to INT8 with --target tensorrt"
    elif kind in _FLOAT_FORMATS:
        yield f"{what} is {_FLOAT_FORMATS[kind]}, which is no integer format; no convolution of TensorRT takes it"
    elif kind is not None and kind not in (ir.DataType.INT8, ir.DataType.INT32, *_INT4):
        yield f"{what} is {kind.name}, which TensorRT refuses: quantize to INT8"
    if zero_point is not None and zero_point.numpy().any():
        yield f"{what} has a nonzero zero-point, which TensorRT refuses: quantize with --target tensorrt"
    if scale is not None and (scale.numpy() <= 0).any():
        yield f"{what} has a scale that is not positive, which TensorRT refuses: quantize again"


def _kind(dequantize: ir.Node) -> ir.DataType | None:
    """Element type of the codes: of the zero-point, of stored codes, or of the zero-point they were quantized with."""
    for position in (2, 0):
        known = _constant(dequantize, position)
        if known is not None:
            return known.dtype
    quantize = producer_of(input_of(dequantize, 0))
    if quantize is None or quantize.op_type != "QuantizeLinear":
        return None
    first = _constant(quantize, 2)
    return ir.DataType.UINT8 if first is None else first.dtype
