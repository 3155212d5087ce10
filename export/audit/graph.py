"""Any ONNX file as an onnx-ir graph, whose values know who makes and who reads them."""

from pathlib import Path

import onnx
import onnx_ir as ir

from genq_export.core.errors import UserError, reason_of

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What multiplies by weights or activations, too, and that no runtime here has an integer kernel for.
FLOAT_LAYERS = (
    "Einsum", "LSTM", "GRU", "RNN", "DeformConv", "Attention", "MultiHeadAttention", "GroupQueryAttention",
    "MatMulNBits",
)  # fmt: skip


def read_onnx(path: Path) -> ir.Model:
    """Load and check a file; raises UserError with the reason."""
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        return ir.from_proto(proto)
    except Exception as error:  # protobuf, checker and file errors have no common base
        raise UserError(f"{path} is not a valid ONNX file: {reason_of(error)}") from None


def name_of(node: ir.Node) -> str:
    """Its name, or that of its first output where it has none."""
    return node.name or str(node.outputs[0].name)


def input_of(node: ir.Node, position: int) -> ir.Value | None:
    """One input; None where it is left out."""
    return node.inputs[position] if position < len(node.inputs) else None


def producer_of(value: ir.Value | None) -> ir.Node | None:
    """The node that makes a value; None for inputs, initializers and inputs left out."""
    return value.producer() if value is not None else None
