"""Which layers ONNX Runtime computes in integers.

ONNX Runtime decides when it loads a file. The audit lets it write down the graph that it will run and reads from it
which operator each convolution, linear layer and product became.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from export.audit.graph import FLOAT_LAYERS, LAYERS, name_of, producer_of, read_onnx
from export.audit.layer import LayerAudit
from genq_export.core.errors import BackendError, UserError, reason_of
from genq_export.runtimes.onnxruntime import refuse_what_ends_the_process, session_options

_INTEGER = (
    "QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QGemm",
)  # fmt: skip


_WITH_ADD = "/MatMulAddFusion"


def audit_onnxruntime(path: Path) -> list[LayerAudit]:
    """Every operator of a file that multiplies, as ONNX Runtime's CPU provider runs it in a default session.

    Raises UserError where the file cannot be loaded.
    """
    model = read_onnx(path)
    planned = list(planned_nodes(path))
    by_name = {name: node for node in planned for name in _names_of(node)}
    by_output = {output: node for node in planned for output in node.output}
    return [
        _audit(node, by_name.get(node.name or "") or by_output.get(str(node.outputs[0].name)))
        for node in model.graph
        if node.op_type in (*LAYERS, *FLOAT_LAYERS, *_INTEGER)
    ]


def planned_nodes(path: Path) -> Iterator[onnx.NodeProto]:
    """The nodes that ONNX Runtime runs in the place of a file's; raises UserError where it does not load."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options()
        options.optimized_model_filepath = str(Path(folder) / "planned.onnx")
        try:
            refuse_what_ends_the_process(str(path), path.name)
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except BackendError as error:
            raise UserError(str(error)) from None
        except Exception as error:  # onnxruntime's exceptions have no public base class
            raise UserError(f"ONNX Runtime cannot load {path}: {reason_of(error)}") from None
        yield from onnx.load(options.optimized_model_filepath).graph.node


def _names_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """The runtime adds suffixes to names where it rewrites layouts, and where it fuses a product with an addition."""
    return node.name, node.name.split("_token_")[0], node.name.removesuffix("_nhwc"), node.name.removesuffix(_WITH_ADD)


def _audit(node: ir.Node, planned: onnx.NodeProto | None) -> LayerAudit:
    name = name_of(node)
    if planned is None:
        return LayerAudit(name, node.op_type, False, "not found in the planned graph")
    if planned.op_type in _INTEGER:
        return LayerAudit(name, node.op_type, True, planned.op_type)
    if node.op_type == "MatMul" and planned.op_type == "Gemm":
        why = "fused with the addition behind it; disabled_optimizers=['MatMulAddFusion'] keeps it integer"
        return LayerAudit(name, node.op_type, False, f"Gemm: {why}")
    return LayerAudit(name, node.op_type, False, f"{planned.op_type}: {_reason(node)}")


def _reason(node: ir.Node) -> str:
    """Why the runtime keeps a layer in float, as far as the file shows."""
    if node.op_type in FLOAT_LAYERS:
        return "it has no integer kernel for this operator"
    sources = [producer_of(value) for value in node.inputs[:2]]
    if any(source is None or source.op_type != "DequantizeLinear" for source in sources):
        return "an input does not come from a DequantizeLinear"
    readers = {use.node.op_type for use in node.outputs[0].uses()}
    if node.op_type == "Conv" and not {"QuantizeLinear", "Relu", "Clip"} & readers:
        return "its result is not quantized"
    if node.op_type == "Gemm":
        return "Gemm with per-channel weights has no integer kernel; MatMul has"
    return "the runtime did not fuse its Q/DQ pattern"
