"""Outputs of a file: its own, tensors inside it, and what suppression of boxes would read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.onnx_import.load import load_network
from genq_export.models.source import load_model
from tests.models.onnx_import.graphs import draw, write

SIZE = (3, 16, 16)


def detector(path: Path) -> Path:
    """A convolution for boxes and one for scores, and the suppression of boxes behind them."""
    tensors = {
        "wb": draw(4, 3, 3, 3), "ws": draw(5, 3, 3, 3, seed=1), "boxes_shape": np.array([0, 4, -1]),
        "scores_shape": np.array([0, 5, -1]), "most": np.array([10]), "overlap": np.float32([0.5]),
        "least": np.float32([0.1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "wb"], ["box map"], name="box_conv"),
        helper.make_node("Conv", ["x", "ws"], ["score map"], name="score_conv"),
        helper.make_node("Reshape", ["box map", "boxes_shape"], ["flat boxes"]),
        helper.make_node("Transpose", ["flat boxes"], ["boxes"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["score map", "scores_shape"], ["raw scores"]),
        helper.make_node("Sigmoid", ["raw scores"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["selected"]),
        helper.make_node("Relu", ["score map"], ["heat"]),
    ]
    return write(path, nodes, tensors, shape=("n", *SIZE), outputs=("selected", "heat"))


def test_a_detector_is_cut_in_front_of_the_suppression(tmp_path: Path) -> None:
    found = load_network(detector(tmp_path / "detector.onnx"), None)
    assert found.network.names == ("heat", "boxes", "scores")
    assert "'selected' come out of NonMaxSuppression" in found.notes[0] and "'boxes', 'scores'" in found.notes[0]
    with torch.no_grad():
        answer = found.network(torch.randn(2, *SIZE))
    assert {name: tuple(part.shape) for name, part in answer.items()} == {
        "heat": (2, 5, 14, 14), "boxes": (2, 196, 4), "scores": (2, 5, 196)
    }  # fmt: skip


def test_boxes_and_scores_alone_are_taken_as_a_detector(tmp_path: Path) -> None:
    path = detector(tmp_path / "detector.onnx")
    model = load_model(ModelConfig(name=str(path), outputs=("boxes", "scores")))
    assert (model.task, model.classes) == ("detection", 5) and list(model.outputs) == ["boxes", "scores"]


def test_tensors_inside_a_file_become_its_outputs(tmp_path: Path) -> None:
    path = detector(tmp_path / "detector.onnx")
    model = load_model(ModelConfig(name=str(path), outputs=("score map",)))
    assert dict(model.outputs) == {"score_map": (5, 14, 14)} and model.task == "segmentation"
    with pytest.raises(UserError, match="nothing in the file gives an output 'score': did you mean"):
        load_model(ModelConfig(name=str(path), outputs=("score",)))


def test_a_vector_inside_keeps_its_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "w"], ["y"]),
    ]
    path = write(tmp_path / "n.onnx", nodes, {"w": draw(3, 7)}, shape=("n", *SIZE))
    assert dict(load_model(ModelConfig(name=str(path))).outputs) == {"logits": (7,)}
    inner = load_model(ModelConfig(name=str(path), outputs=("features",), task="embedding"))
    assert dict(inner.outputs) == {"features": (3,)} and inner.classes == 0
