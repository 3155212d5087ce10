"""FP16 for the float remainder: the integer layers stay as they are, and only the remainder changes its type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from torch import Tensor

from export.audit.engine_plan import audit_plan
from export.audit.tensorrt import audit_tensorrt
from export.engine import build_engine
from export.onnx_qdq import export_onnx
from genq_export.runtimes.onnxruntime import session_options
from genq_export.targets import rule_for

Exported = Callable[..., Any]
SIZE = (3, 16, 16)


@pytest.fixture(scope="module")
def half(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    made = exported("attention", "tensorrt")
    path = tmp_path_factory.mktemp("half") / "model.onnx"
    return path, export_onnx(made.integer_model, SIZE, rule_for("tensorrt"), path, True, half_remainder=True)


def test_layer_norm_and_softmax_compute_in_half_and_quantizers_in_float(half: tuple[Path, Any]) -> None:
    path, facts = half
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    by_type = {node.op_type: node for node in model.graph.node}
    assert facts["half_operators"] == 2
    for name in ("LayerNormalization", "Softmax"):
        assert kinds[by_type[name].output[0]] == TensorProto.FLOAT16
    scales = {node.input[1] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    stored = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert {stored[name] for name in scales if name in stored} == {TensorProto.FLOAT}
    assert [row for row in audit_tensorrt(path) if not row.integer] == []


def test_logits_are_those_of_the_float_remainder_to_half_precision(
    exported: Exported, half: tuple[Path, Any], images: Tensor
) -> None:
    import onnxruntime

    options = session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    logits = [
        onnxruntime.InferenceSession(path, options).run(None, {"input": images.numpy()})[0]
        for path in (exported("attention", "tensorrt").path, half[0])
    ]
    assert not np.array_equal(*logits) and np.allclose(*logits, atol=0.1 * np.abs(logits[0]).max())


def test_the_engine_keeps_its_integer_layers(half: tuple[Path, Any]) -> None:
    pytest.importorskip("tensorrt_rtx")
    rows = audit_plan(build_engine(half[0], SIZE, "tensorrt_rtx").plan)
    assert rows and all(row.integer for row in rows)


def test_a_network_without_a_remainder_is_unchanged(exported: Exported, tmp_path: Path) -> None:
    made = exported("plain", "tensorrt")
    facts = export_onnx(made.integer_model, SIZE, rule_for("tensorrt"), tmp_path / "m.onnx", True, half_remainder=True)
    assert facts["half_operators"] == 0
    assert (tmp_path / "m.onnx").read_bytes() == made.path.read_bytes()
