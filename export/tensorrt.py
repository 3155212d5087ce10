"""QDQ ONNX -> engine, over either module that can build one: `tensorrt` (10, 11) or `tensorrt_rtx` (no GPU needed).

Networks are strongly typed: precision is what the ONNX file says, no flag chooses it. TensorRT-RTX builds ahead of time
for named compute capabilities on a machine without a GPU; full TensorRT builds for the GPU it runs on.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from export.audit import LayerAudit, read_onnx
from genq_export.errors import UserError
from genq_export.workspace import sha256, write_atomic

# Ampere and later desktop parts, as the ahead-of-time builder names them.
RTX_CAPABILITIES = ("SM86", "SM89", "SM120")
_BATCHES = (1, 8, 64)
_MOVES_NUMBERS = (
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Pad", "Slice", "Expand", "Concat",
    "Identity",
)  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """A built engine: its bytes and what `engine.json` says of it."""

    plan: bytes
    facts: dict[str, Any]


def build_engine(onnx_file: Path, input_size: tuple[int, int, int], module_name: str) -> Engine:
    """Build with the module given by name; batch is free between 1 and 64.

    Raises UserError with the parser's or builder's own words where the file is refused.
    """
    trt = importlib.import_module(module_name)
    messages: list[str] = []
    logger = _collecting_logger(trt, messages)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_file)):
        raise UserError(f"TensorRT refuses {onnx_file}: {parser.get_error(0).desc().splitlines()[0]}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("input", *((batch, *input_size) for batch in _BATCHES))
    config.add_optimization_profile(profile)
    capabilities = _choose_capabilities(trt, config) if module_name == "tensorrt_rtx" else _this_gpu()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = messages[-1] if messages else "no reason given"
        raise UserError(f"TensorRT cannot build an engine from {onnx_file}: {reason}")
    content = bytes(plan)
    facts = {
        "builder": module_name,
        "version": trt.__version__,
        "compute_capabilities": capabilities,
        "onnx_sha256": sha256(onnx_file),
        "bytes": len(content),
        "batches": {"min": _BATCHES[0], "opt": _BATCHES[1], "max": _BATCHES[2]},
        "layers": [layer.row() for layer in audit_plan(content)],
    }
    return Engine(content, facts)


def save_engine(engine: Engine, folder: Path) -> list[str]:
    """Write `model.engine`; its facts go to `engine.json` by the stage. Returns the file's name."""
    write_atomic(folder / "model.engine", engine.plan)
    return ["model.engine"]


def audit_plan(plan: bytes) -> list[LayerAudit]:
    """Convolutions and matrix products of a TensorRT-RTX plan, with the types of the two tensors they multiply.

    A plan is readable text in an undocumented format (seen in 1.7.1): best effort, empty where nothing is recognised.
    """
    text = plan.decode("latin-1")
    inner = r"[^{}]*(?:\{[^{}]*\}[^{}]*)*?"
    types = dict(re.findall(rf'tensor=\{{{inner}name="([^"]+)"{inner}type=(\w+)', text))
    calls = re.findall(
        r'(corrltn|fully_connected|matmul)=\{ name="([^"]*)" output=\{[^}]*\} input=\{([^}]*)\}', text
    )
    rows = []
    for kind, name, inputs in calls:
        pair = [types.get(tensor, "?") for tensor in re.findall(r'"([^"]+)"', inputs)[:2]]
        rows.append(LayerAudit(name, kind, pair == ["int8", "int8"], " x ".join(pair)))
    return rows


def audit_tensorrt(path: Path) -> list[LayerAudit]:
    """Every Conv, Gemm and MatMul of a QDQ file by TensorRT's rules for explicit quantization, without building it.

    A layer runs in int8 where both inputs come from DequantizeLinear of int8 with zero-point 0, the activation with one
    scale, the weight with one scale a channel on axis 0. Where it does not, the reason says what to change.
    """
    model = read_onnx(path)
    graph = _Graph(model)
    return [_judge(graph, node) for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]


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


def _judge(graph: _Graph, node: onnx.NodeProto) -> LayerAudit:
    name = node.name or node.output[0]
    problem = next(_problems(graph, node), None)
    return LayerAudit(name, node.op_type, problem is None, problem or "int8 x int8, int32 sums")


def _problems(graph: _Graph, node: onnx.NodeProto) -> Iterator[str]:
    for position, name in enumerate(node.input[:2]):
        is_product = node.op_type == "MatMul" and name not in graph.initializer
        what = "activation" if position == 0 or is_product else "weight"
        dequantize = graph.source(name)
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            yield f"input {position} does not come from a DequantizeLinear: quantize it"
            continue
        yield from _tensor_problems(graph, dequantize, position, what)
    if len(node.input) > 2:
        bias = graph.producer.get(node.input[2])
        if bias is not None and bias.op_type == "DequantizeLinear":
            yield "the bias comes through an INT32 DequantizeLinear, which TensorRT refuses: store it as float"


def _tensor_problems(graph: _Graph, dequantize: onnx.NodeProto, position: int, what: str) -> Iterator[str]:
    constant = dequantize.input[0] in graph.initializer
    scale = graph.initializer.get(dequantize.input[1])
    zero_point = graph.initializer.get(dequantize.input[2]) if len(dequantize.input) > 2 else None
    if zero_point is not None:
        if zero_point.data_type != onnx.TensorProto.INT8:
            kind = onnx.TensorProto.DataType.Name(zero_point.data_type)
            yield f"input {position} is {kind}: TensorRT computes in INT8 only (UINT8 is silently clamped at 127)"
        if onnx.numpy_helper.to_array(zero_point).any():
            yield f"input {position} has a nonzero zero-point, which TensorRT refuses: quantize with --target tensorrt"
    if constant and graph.initializer[dequantize.input[0]].data_type != onnx.TensorProto.INT8:
        yield f"the {what} is not stored as INT8"
    if scale is not None and len(scale.dims) > 0 and not constant:
        yield f"input {position} has one scale a channel: activations need one scale a tensor"
    axis = next((attribute.i for attribute in dequantize.attribute if attribute.name == "axis"), 1)
    if scale is not None and len(scale.dims) > 0 and constant and axis != 0:
        yield f"the weight's scales lie on axis {axis}; TensorRT runs them in integers on axis 0 only"


def _collecting_logger(trt: Any, messages: list[str]) -> Any:
    class Collecting(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                messages.append(message.splitlines()[0])

    return Collecting()


def _choose_capabilities(trt: Any, config: Any) -> list[str]:
    config.num_compute_capabilities = len(RTX_CAPABILITIES)
    for number, name in enumerate(RTX_CAPABILITIES):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), number)
    return list(RTX_CAPABILITIES)


def _this_gpu() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        raise UserError("TensorRT builds on the GPU it will run on, and this machine has none: install tensorrt-rtx")
    major, minor = torch.cuda.get_device_capability()
    return [f"SM{major}{minor}"]
