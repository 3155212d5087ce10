"""Does an artefact really compute in integers? A table of layers, and for each that does not, why.

ONNX Runtime decides when it loads a file. The audit lets it write down the graph that it will run and reads from it
which operator each convolution, linear layer and product became.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from genq_export.core.errors import UserError, reason_of
from genq_export.runtimes.session_options import session_options

_COMPUTES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INTEGER = (
    "QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QGemm",
)  # fmt: skip


@dataclass(frozen=True)
class LayerAudit:
    """One layer: its operator in the file, whether the runtime runs it in integers, and as what or why not."""

    name: str
    op: str
    integer: bool
    detail: str

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def audit_onnxruntime(path: Path) -> list[LayerAudit]:
    """Every Conv, Gemm and MatMul of a QDQ file, as ONNX Runtime's CPU provider runs it in a default session.

    Raises UserError where the file cannot be loaded.
    """
    model = read_onnx(path)
    planned = list(_planned_nodes(path))
    by_name = {name: node for node in planned for name in _names_of(node)}
    fused = {output: node for node in planned for output in node.output}
    return [_audit(model, node, by_name, fused) for node in model.graph.node if node.op_type in _COMPUTES]


def read_onnx(path: Path) -> onnx.ModelProto:
    """Load and check a file; raises UserError with the reason."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, checker and file errors have no common base
        raise UserError(f"{path} is not a valid ONNX file: {reason_of(error)}") from None
    return model


def _planned_nodes(path: Path) -> Iterator[onnx.NodeProto]:
    with tempfile.TemporaryDirectory() as folder:
        options = session_options()
        options.optimized_model_filepath = str(Path(folder) / "planned.onnx")
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no public base class
            raise UserError(f"ONNX Runtime cannot load {path}: {reason_of(error)}") from None
        yield from onnx.load(options.optimized_model_filepath).graph.node


def _names_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """The runtime adds suffixes to names where it rewrites layouts."""
    return node.name, node.name.split("_token_")[0], node.name.removesuffix("_nhwc")


def _audit(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    by_name: dict[str, onnx.NodeProto],
    fused: dict[str, onnx.NodeProto],
) -> LayerAudit:
    planned = by_name.get(node.name) or fused.get(node.output[0])
    name = node.name or node.output[0]
    if planned is None:
        return LayerAudit(name, node.op_type, False, "not found in the planned graph")
    if planned.op_type in _INTEGER:
        return LayerAudit(name, node.op_type, True, planned.op_type)
    return LayerAudit(name, node.op_type, False, f"{planned.op_type}: {_reason(model, node)}")


def _reason(model: onnx.ModelProto, node: onnx.NodeProto) -> str:
    """Why the runtime keeps a layer in float, as far as the file shows."""
    producer = {output: part for part in model.graph.node for output in part.output}
    sources = [producer.get(name) for name in node.input[:2]]
    if any(source is None or source.op_type != "DequantizeLinear" for source in sources):
        return "an input does not come from a DequantizeLinear"
    readers = [part.op_type for part in model.graph.node if node.output[0] in part.input]
    if node.op_type == "Conv" and not {"QuantizeLinear", "Relu", "Clip"} & set(readers):
        return "its result is not quantized"
    if node.op_type == "Gemm":
        return "Gemm with per-channel weights has no integer kernel; MatMul has"
    return "the runtime did not fuse its Q/DQ pattern"
