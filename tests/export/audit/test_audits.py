"""Which layers run in integers, and the reason for those that do not."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.audit.engine_plan import audit_plan, quantizing_kernels, rows_of_inspector
from export.audit.file import audit_file
from export.audit.graph import read_onnx
from export.audit.layer import LayerAudit
from export.audit.onnxruntime import audit_onnxruntime
from export.audit.tensorrt import audit_tensorrt
from export.engine import build_engine
from genq_export.config.export import ExportConfig
from genq_export.core.errors import UserError

Exported = Callable[..., Any]


@pytest.mark.parametrize("name", ["residual", "gated", "attention"])
def test_our_files_run_in_integers_on_onnx_runtime(exported: Exported, name: str) -> None:
    rows = audit_onnxruntime(exported(name, "onnxruntime").path)
    assert rows and [row for row in rows if not row.integer] == []


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_our_files_keep_the_rules_of_tensorrt(exported: Exported, name: str) -> None:
    rows = audit_tensorrt(exported(name, "tensorrt").path)
    assert rows and [row for row in rows if not row.integer] == []


class Handmade:
    """A small QDQ file written node by node: DequantizeLinear(input codes) -> layer."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def quantized(self, source: str, kind: type[Any] = np.int8, zero: int = 0, scales: int = 0) -> str:
        shape = (scales,) if scales else ()
        scale = self.constant(f"{source}_s", np.full(shape, 0.1, np.float32))
        point = self.constant(f"{source}_z", np.full(shape, zero, kind))
        self.nodes += [
            helper.make_node("QuantizeLinear", [source, scale, point], [f"{source}_q"]),
            helper.make_node("DequantizeLinear", [f"{source}_q", scale, point], [f"{source}_dq"]),
        ]
        return f"{source}_dq"

    def weight(self, name: str, shape: tuple[int, ...], axis: int = 0) -> str:
        codes = self.constant(f"{name}_codes", np.ones(shape, np.int8))
        scale = self.constant(f"{name}_s", np.full(shape[axis], 0.1, np.float32))
        self.nodes.append(helper.make_node("DequantizeLinear", [codes, scale], [f"{name}_dq"], axis=axis))
        return f"{name}_dq"

    def save(self, path: Path, shape: tuple[int, ...] = (1, 4, 6, 6)) -> Path:
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))
        graph = helper.make_graph(self.nodes, "handmade", [value], [result], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
        return path


@pytest.mark.parametrize("audit", [audit_onnxruntime, audit_tensorrt])
@pytest.mark.parametrize(
    ("operator", "weights", "attributes"),
    [
        ("Einsum", [], {"equation": "abc->ab"}),
        ("LSTM", [(1, 12, 4), (1, 12, 3)], {"hidden_size": 3}),
        ("GRU", [(1, 9, 4), (1, 9, 3)], {"hidden_size": 3}),
        ("RNN", [(1, 3, 4), (1, 3, 3)], {"hidden_size": 3}),
    ],
)
def test_what_multiplies_in_float_is_counted(
    operator: str,
    weights: list[tuple[int, ...]],
    attributes: dict[str, Any],
    audit: Callable[[Path], list[LayerAudit]],
    tmp_path: Path,
) -> None:
    made = Handmade()
    inputs = [made.quantized("x"), *(made.constant(f"w{n}", np.ones(s, np.float32)) for n, s in enumerate(weights))]
    made.nodes.append(helper.make_node(operator, inputs, ["y"], name="layer", **attributes))
    rows = audit(made.save(tmp_path / "model.onnx", (2, 1, 4)))
    assert [(row.name, row.integer) for row in rows] == [("layer", False)] and "operator" in rows[0].detail


@pytest.fixture
def file() -> Handmade:
    return Handmade()


def only(rows: list[LayerAudit]) -> LayerAudit:
    (row,) = rows
    return row


def test_a_float_convolution_is_named_by_both_audits(tmp_path: Path, file: Handmade) -> None:
    weight = file.constant("w", np.ones((4, 4, 3, 3), np.float32))
    file.nodes.append(helper.make_node("Conv", ["x", weight], ["y"], name="stem"))
    path = file.save(tmp_path / "m.onnx")
    for audit in (audit_onnxruntime, audit_tensorrt):
        row = only(audit(path))
        assert row.name == "stem" and not row.integer and "DequantizeLinear" in row.detail


def test_a_product_that_the_runtime_fuses_with_an_addition_is_found(tmp_path: Path, file: Handmade) -> None:
    inputs = [file.quantized("x", np.uint8, 128), file.weight("w", (6, 5), 1)]
    file.nodes += [
        helper.make_node("MatMul", inputs, ["product"], name="layer"),
        helper.make_node("Add", ["product", file.constant("b", np.ones(5, np.float32))], ["y"]),
    ]
    row = only(audit_onnxruntime(file.save(tmp_path / "m.onnx", (2, 4, 6))))
    assert not row.integer and "MatMulAddFusion" in row.detail


def test_a_convolution_whose_result_is_not_quantized_is_named(tmp_path: Path, file: Handmade) -> None:
    file.nodes.append(
        helper.make_node("Conv", [file.quantized("x", np.uint8, 128), file.weight("w", (4, 4, 3, 3))], ["y"], name="c")
    )
    row = only(audit_onnxruntime(file.save(tmp_path / "m.onnx")))
    assert not row.integer and "its result is not quantized" in row.detail


def test_a_gemm_with_a_scale_a_channel_is_named(tmp_path: Path, file: Handmade) -> None:
    inputs = [file.quantized("x", np.uint8, 128), file.weight("w", (4, 3), axis=1)]
    file.nodes.append(helper.make_node("Gemm", inputs, ["y"], name="fc"))
    row = only(audit_onnxruntime(file.save(tmp_path / "m.onnx", (2, 4))))
    assert row.name == "fc" and not row.integer and "Gemm" in row.detail


def conv(file: Handmade, activation: str, weight: str, *more: str) -> None:
    file.nodes.append(helper.make_node("Conv", [activation, weight, *more], ["y"], name="c"))


def with_uint8(file: Handmade) -> None:
    conv(file, file.quantized("x", np.uint8), file.weight("w", (4, 4, 3, 3)))


def with_zero_point(file: Handmade) -> None:
    conv(file, file.quantized("x", np.int8, 3), file.weight("w", (4, 4, 3, 3)))


def with_scales_of_channels(file: Handmade) -> None:
    conv(file, file.quantized("x", np.int8, 0, 4), file.weight("w", (4, 4, 3, 3)))


def with_axis_one(file: Handmade) -> None:
    conv(file, file.quantized("x"), file.weight("w", (4, 4, 3, 3), axis=1))


def with_integer_bias(file: Handmade) -> None:
    codes, scale = file.constant("b_q", np.ones(4, np.int32)), file.constant("b_s", np.full(4, 0.01, np.float32))
    file.nodes.append(helper.make_node("DequantizeLinear", [codes, scale], ["b"], axis=0))
    conv(file, file.quantized("x"), file.weight("w", (4, 4, 3, 3)), "b")


def with_float_weight(file: Handmade) -> None:
    conv(file, file.quantized("x"), file.constant("w", np.ones((4, 4, 3, 3), np.float32)))


def with_four_bit_weight(file: Handmade) -> None:
    file.constants.append(helper.make_tensor("w_codes", TensorProto.INT4, (4, 4, 3, 3), np.ones(144, np.int8)))
    scale = file.constant("w_s", np.full(4, 0.1, np.float32))
    file.nodes.append(helper.make_node("DequantizeLinear", ["w_codes", scale], ["w"], axis=0))
    conv(file, file.quantized("x"), "w")


def with_int4_blocks(file: Handmade) -> None:
    """A Gemm whose INT4 weight has a scale for every block of two rows."""
    file.constants.append(helper.make_tensor("w_codes", TensorProto.INT4, (6, 6), np.ones(36, np.int8)))
    scale = file.constant("w_s", np.full((3, 6), 0.1, np.float32))
    file.nodes.append(helper.make_node("DequantizeLinear", ["w_codes", scale], ["w"], axis=0, block_size=2))
    file.nodes.append(helper.make_node("MatMul", [file.quantized("x"), "w"], ["y"], name="c"))


def with_weight_behind_a_cast(file: Handmade) -> None:
    file.constants.append(helper.make_tensor("w_codes", TensorProto.INT4, (4, 4, 3, 3), np.ones(144, np.int8)))
    file.nodes.append(helper.make_node("Cast", ["w_codes"], ["w_int8"], to=TensorProto.INT8))
    scale = file.constant("w_s", np.full(4, 0.1, np.float32))
    file.nodes.append(helper.make_node("DequantizeLinear", ["w_int8", scale], ["w"], axis=0))
    conv(file, file.quantized("x"), "w")


def with_fp8_weight(file: Handmade) -> None:
    ones = helper.make_tensor("w_codes", TensorProto.FLOAT8E4M3FN, (4, 4, 3, 3), np.ones(144, np.float32))
    file.constants.append(ones)
    scale = file.constant("w_s", np.full(4, 0.1, np.float32))
    file.nodes.append(helper.make_node("DequantizeLinear", ["w_codes", scale], ["w"], axis=0))
    conv(file, file.quantized("x"), "w")


def with_int16(file: Handmade) -> None:
    conv(file, file.quantized("x", np.int16), file.weight("w", (4, 4, 3, 3)))


def with_negative_scale(file: Handmade) -> None:
    codes = file.constant("w_codes", np.ones((4, 4, 3, 3), np.int8))
    scale = file.constant("w_s", -np.ones(4, np.float32))
    file.nodes.append(helper.make_node("DequantizeLinear", [codes, scale], ["w"], axis=0))
    conv(file, file.quantized("x"), "w")


def with_clip_behind(file: Handmade) -> None:
    file.nodes.append(helper.make_node("Clip", [file.quantized("x")], ["clipped"]))
    conv(file, "clipped", file.weight("w", (4, 4, 3, 3)))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (with_int4_blocks, "in blocks beside INT8 activations are computed silently wrong"),
        (with_weight_behind_a_cast, "behind a Cast"),
        (with_fp8_weight, "FP8, which is no integer format; no convolution of TensorRT takes it"),
        (with_int16, "INT16, which TensorRT refuses"),
        (with_negative_scale, "scale that is not positive"),
        (with_clip_behind, "clip before quantizing"),
        (with_uint8, "UINT8"),
        (with_zero_point, "nonzero zero-point"),
        (with_scales_of_channels, "one scale a channel"),
        (with_axis_one, "axis 1"),
        (with_integer_bias, "INT32"),
        (with_float_weight, "input 1 does not come from a DequantizeLinear"),
        (with_four_bit_weight, "not stored as INT8"),
    ],
)
def test_what_tensorrt_does_not_run_in_integers_has_its_reason(
    tmp_path: Path, file: Handmade, write: Callable[[Handmade], None], reason: str
) -> None:
    write(file)
    row = only(audit_tensorrt(file.save(tmp_path / "m.onnx")))
    assert row.name == "c" and not row.integer and reason in row.detail


@pytest.mark.parametrize("between", [[], ["MaxPool"], ["Relu"]])
def test_pooling_moves_codes_and_arithmetic_does_not(tmp_path: Path, file: Handmade, between: list[str]) -> None:
    source, weight = file.quantized("x"), file.weight("w", (4, 4, 3, 3))
    for number, kind in enumerate(between):
        options = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
        file.nodes.append(helper.make_node(kind, [source], [f"t{number}"], **options))
        source = f"t{number}"
    conv(file, source, weight)
    assert only(audit_tensorrt(file.save(tmp_path / "m.onnx"))).integer is (between != ["Relu"])


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x08\x0a"])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    for read in (read_onnx, audit_onnxruntime, audit_tensorrt):
        with pytest.raises(UserError):
            read(path)


def test_a_plan_that_is_not_understood_has_no_rows() -> None:
    assert audit_plan(b"\x00\x01nothing here") == []


def test_an_engine_built_without_a_gpu_has_every_layer_in_int8(exported: Exported) -> None:
    pytest.importorskip("tensorrt_rtx")
    made = exported("residual", "tensorrt")
    engine = build_engine(made.path, (3, 16, 16), "tensorrt_rtx")
    assert engine.facts["bytes"] == len(engine.plan) > 0
    assert engine.facts["batches"]["min"] == 1 and engine.facts["compute_capabilities"]
    rows = engine.facts["layers"]
    assert len(rows) >= 4 and all(row["integer"] for row in rows)


def test_an_engine_builder_that_refuses_says_why(tmp_path: Path, file: Handmade) -> None:
    pytest.importorskip("tensorrt_rtx")
    with_zero_point(file)
    with pytest.raises(UserError, match="TensorRT refuses"):
        build_engine(file.save(tmp_path / "m.onnx"), (4, 6, 6), "tensorrt_rtx")


def test_a_quantizer_of_an_addition_that_tensorrt_refuses_has_its_own_row(tmp_path: Path, file: Handmade) -> None:
    file.nodes.append(helper.make_node("Add", [file.quantized("x", np.int8, 3), "x"], ["y"], name="sum"))
    row = only(audit_tensorrt(file.save(tmp_path / "m.onnx")))
    assert row.name == "x_dq" and not row.integer and "nonzero zero-point" in row.detail


@pytest.mark.parametrize("content", [b"", b"not a plan"])
def test_an_engine_whose_layers_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no layers that can be read"):
        audit_file(path, audit_tensorrt)


def test_a_file_is_audited_for_either_target_and_an_engine_by_its_plan(exported: Exported, tmp_path: Path) -> None:
    made = exported("residual", "tensorrt")
    assert all(row.integer for row in audit_file(made.path, audit_tensorrt))
    here = audit_file(exported("residual", "onnxruntime").path, audit_tensorrt)
    assert here and not any(row.integer for row in here), "UINT8 activations and INT32 biases"
    pytest.importorskip("tensorrt_rtx")
    engine = build_engine(made.path, (3, 16, 16), "tensorrt_rtx")
    path = tmp_path / "model.engine"
    path.write_bytes(engine.plan)
    assert [row.row() for row in audit_file(path, audit_tensorrt)] == engine.facts["layers"]
    (residual,) = [node.name for node in onnx.load(made.path).graph.node if node.op_type == "Add"]
    assert sum(residual in kernel for kernel in quantizing_kernels(engine.plan)) == 1


def test_the_inspector_of_tensorrt_is_read() -> None:
    layers = [
        {"Name": "conv1", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Int8 NC/32HW32"}]},
        {"Name": "fc", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Float"}, {"Format/Datatype": "Int8"}]},
        {"Name": "relu", "LayerType": "PointWise", "Inputs": [{"Format/Datatype": "Float"}]},
        "a name alone",
    ]
    rows = rows_of_inspector(json.dumps({"Layers": layers}))
    assert [(row.name, row.integer) for row in rows] == [("conv1", True), ("fc", False)]


def test_an_engine_holds_what_settings_ask_for(exported: Exported) -> None:
    pytest.importorskip("tensorrt_rtx")
    made = exported("plain", "tensorrt")
    settings = ExportConfig(engine_batches=(1, 2, 4), compute_capabilities=("SM89",))
    engine = build_engine(made.path, (3, 16, 16), "tensorrt_rtx", settings)
    assert engine.facts["batches"] == {"min": 1, "opt": 2, "max": 4}
    assert engine.facts["compute_capabilities"] == ["SM89"] and engine.facts["gpu"] is None
    assert engine.facts["engine_sha256"] == hashlib.sha256(engine.plan).hexdigest()
    with pytest.raises(UserError, match=r"cannot build for SM90; it knows SM120"):
        build_engine(made.path, (3, 16, 16), "tensorrt_rtx", ExportConfig(compute_capabilities=("SM90",)))
    with pytest.raises(ValueError, match="must rise"):
        ExportConfig(engine_batches=(4, 2, 8))
