"""Files that every runtime reads: one quantized convolution, written node by node."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SIZE = (3, 8, 8)


def one_convolution() -> onnx.ModelProto:
    """input [N, 3, 8, 8] -> codes of `input` -> Conv `conv` -> codes of `act` -> logits [N, 4, 6, 6], flattened."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(-60, 60, (4, 3, 3, 3)).astype(np.int8), "w_scale": np.full(4, 0.01, np.float32),
        "scale": np.float32(0.02), "zero": np.uint8(128), "out_scale": np.float32(0.1), "out_zero": np.uint8(128),
        "shape": np.array([0, -1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["input/codes"]),
        helper.make_node("DequantizeLinear", ["input/codes", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale"], ["conv/weight"], axis=0),
        helper.make_node("Conv", ["x", "conv/weight"], ["y"], name="conv"),
        helper.make_node("QuantizeLinear", ["y", "out_scale", "out_zero"], ["act/codes"]),
        helper.make_node("DequantizeLinear", ["act/codes", "out_scale", "out_zero"], ["z"]),
        helper.make_node("Reshape", ["z", "shape"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one convolution",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 144])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def qdq_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(one_convolution(), path)
    return path


@pytest.fixture
def images() -> np.ndarray:
    """float32 [5, 3, 8, 8]"""
    return np.random.default_rng(1).standard_normal((5, *SIZE), dtype=np.float32)


Expected = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def expected() -> Expected:
    """Codes of `act`, int64 [N, 4, 6, 6], summed in integers by numpy."""
    constants = {entry.name: numpy_helper.to_array(entry) for entry in one_convolution().graph.initializer}

    def compute(batch: np.ndarray) -> np.ndarray:
        codes = np.clip(np.rint(batch / np.float32(0.02)), -128, 127).astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(codes, (3, 3), (2, 3))
        sums = np.einsum("nchwij,kcij->nkhw", windows, constants["w"].astype(np.int64))
        steps = sums.astype(np.float32) * np.float32(np.float32(0.02) * np.float32(0.01)) / np.float32(0.1)
        return (np.clip(np.rint(steps) + 128, 0, 255)).astype(np.int64)

    return compute
