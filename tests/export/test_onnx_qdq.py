"""The two ONNX forms: valid, named, anonymous, and computing the oracle's codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from export.onnx_qdq import export_onnx
from genq_export.core.errors import UserError
from genq_export.network.hooks import record_codes
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import dequantized_tensor, weight_codes_tensor
from genq_export.runtimes.onnxruntime import session_options
from genq_export.targets import rule_for

Exported = Callable[..., Any]
ALL = [(name, target) for name in ("residual", "attention") for target in ("onnxruntime", "tensorrt")]


def run(
    path: Path, images: Tensor, outputs: list[str] | None = None, plain: bool = False, as_written: bool = False
) -> list[np.ndarray]:
    options = session_options(threads=1, as_written=as_written)
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(outputs, {"input": images.numpy()})
    return found


def codes_of(path: Path, images: Tensor, names: list[str], tmp_path: Path) -> dict[str, Tensor]:
    """Numbers on the grid that a default session computes behind every quantizer."""
    model = onnx.load(path)
    tensors = [dequantized_tensor(name) for name in names]
    model.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors)
    probed = tmp_path / "probed.onnx"
    onnx.save(model, probed)
    return {name: torch.from_numpy(found) for name, found in zip(names, run(probed, images, tensors), strict=True)}


@pytest.mark.parametrize(("name", "target"), ALL)
def test_the_file_is_valid_and_takes_any_batch(exported: Exported, images: Tensor, name: str, target: str) -> None:
    made = exported(name, target)
    model = onnx.load(made.path)
    onnx.checker.check_model(model, full_check=True)
    rule = rule_for(target)  # type: ignore[arg-type]
    (version,) = (entry.version for entry in model.opset_import if entry.domain == "")
    assert version == rule.opset or (rule.lowest_opset and 13 <= version < rule.opset)
    assert model.ir_version == rule.ir_version or (rule.lowest_opset and model.ir_version < rule.ir_version)
    assert {node.domain for node in model.graph.node} <= {""}
    for count in (1, 3, 16):  # in opset 21 a default session would refuse attention in INT8
        assert run(made.path, images[:count], as_written=target == "tensorrt")[0].shape == (count, 5)


@pytest.mark.parametrize(("name", "bits"), [("residual", 4), ("residual", 8), ("gated", 4), ("attention", 4)])
def test_a_default_session_computes_the_oracle(
    exported: Exported, images: Tensor, tmp_path: Path, name: str, bits: int
) -> None:
    made = exported(name, "onnxruntime", bits)
    logits, codes = record_codes(made.integer_model, images)
    steps = {part.name: part for part in made.integer_model.modules() if hasattr(part, "zero_point")}
    found = codes_of(made.path, images, list(codes), tmp_path)
    different, total, first = 0, 0, None
    for quantizer, expected in codes.items():
        part = steps[quantizer]
        difference = (torch.round(found[quantizer] / part.scale) + part.zero_point - expected).abs()
        different, total = different + int((difference > 0).sum()), total + expected.numel()
        if first is None and bool(difference.any()):
            first = quantizer
            assert int(difference.max()) <= 1, f"{quantizer} is the first to differ"
    assert different <= total * 1e-3
    assert np.allclose(run(made.path, images)[0], logits.numpy(), atol=0.05 * float(logits.abs().max()))


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_the_tensorrt_form_computes_the_oracle_where_nothing_is_fused(
    exported: Exported, images: Tensor, name: str
) -> None:
    made = exported(name, "tensorrt")
    logits, _ = record_codes(made.integer_model, images)
    assert np.allclose(run(made.path, images, plain=True)[0], logits.numpy(), atol=0.02 * float(logits.abs().max()))


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_the_tensorrt_form_loads_in_onnx_runtime_and_is_computed_as_written(
    exported: Exported, images: Tensor, name: str
) -> None:
    path = exported(name, "tensorrt").path
    written, plain = run(path, images, as_written=True)[0], run(path, images, plain=True)[0]
    assert np.allclose(written, plain, atol=1e-3 * float(np.abs(plain).max()))


@pytest.mark.parametrize(("name", "target"), ALL)
def test_layers_are_named_after_modules_and_nothing_else_is_told(exported: Exported, name: str, target: str) -> None:
    made = exported(name, target)
    model = onnx.load(made.path)
    names = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    expected = {"stem", "depthwise", "body"} if name == "residual" else {"patch", "matmul", "matmul_2"}
    assert expected <= names
    tensors = {output for node in model.graph.node for output in node.output}
    assert dequantized_tensor("input") in tensors
    content = made.path.read_bytes()
    for secret in (b"/home", b"/tmp", b"/usr", b".py", b'File "', b"Traceback", str(Path.cwd()).encode()):
        assert secret not in content


@pytest.mark.parametrize(("name", "target"), ALL)
def test_every_quantizer_and_layer_is_in_the_file_once(exported: Exported, name: str, target: str) -> None:
    made = exported(name, target)
    model = onnx.load(made.path)
    counts = [node.op_type for node in model.graph.node]
    modules = list(made.integer_model.modules())
    quantizers = sum(hasattr(part, "zero_point") for part in modules)
    layers = [part for part in modules if hasattr(part, "weight_codes")]
    biases = sum(bool(part.bias_on_grid) for part in layers)
    assert counts.count("QuantizeLinear") == made.facts["quantize_linear"] == quantizers
    assert counts.count("DequantizeLinear") == made.facts["dequantize_linear"] == quantizers + len(layers) + biases
    assert made.facts["bytes"] == made.path.stat().st_size


def test_four_bit_storage_halves_the_weights_and_changes_no_bit_of_the_result(
    exported: Exported, images: Tensor
) -> None:
    packed, plain = exported("residual", "onnxruntime", 4, True), exported("residual", "onnxruntime", 4, False)
    assert np.array_equal(run(packed.path, images)[0], run(plain.path, images)[0])

    def weight_bytes(made: Any) -> dict[str, int]:
        stored = onnx.load(made.path).graph.initializer
        kinds = (TensorProto.INT4, TensorProto.INT8)
        return {entry.name: len(entry.raw_data) for entry in stored if entry.data_type in kinds and len(entry.dims) > 1}

    narrow = [entry for entry in onnx.load(packed.path).graph.initializer if entry.data_type == TensorProto.INT4]
    assert {entry.name for entry in narrow} == {weight_codes_tensor("depthwise"), weight_codes_tensor("body")}
    for entry in narrow:
        assert len(entry.raw_data) * 2 == int(np.prod(entry.dims))
    assert sum(weight_bytes(packed).values()) < sum(weight_bytes(plain).values())
    assert packed.facts["weight_storage"] == "int4" and plain.facts["weight_storage"] == "int8"


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_the_tensorrt_form_holds_only_what_tensorrt_takes(exported: Exported, name: str) -> None:
    model = onnx.load(exported(name, "tensorrt").path)
    constants = {entry.name: entry for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR:
            constants[node.output[0]] = node.attribute[0].t
    kinds = {entry.data_type for entry in constants.values()}
    assert not {TensorProto.UINT8, TensorProto.INT32, TensorProto.INT4, TensorProto.UINT4} & kinds
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            assert not numpy_helper.to_array(constants[node.input[2]]).any()


def test_the_same_model_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    made = exported("residual")
    export_onnx(made.integer_model, (3, 16, 16), rule_for("onnxruntime"), tmp_path / "again.onnx", True)
    assert (tmp_path / "again.onnx").read_bytes() == made.path.read_bytes()


def test_a_zero_point_for_a_target_without_is_refused(
    reference: Callable[..., GraphNetwork], exported: Exported, tmp_path: Path
) -> None:
    made = exported("gated", "onnxruntime")
    with pytest.raises(UserError):
        export_onnx(made.integer_model, (3, 16, 16), rule_for("tensorrt"), tmp_path / "model.onnx", True)
    assert not (tmp_path / "model.onnx").exists()
