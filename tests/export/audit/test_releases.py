"""Which releases take a file is read from the file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.audit.releases import taken_by
from genq_export.core.errors import UserError


def file_of(path: Path, opset: int, ir_version: int, stored: int) -> Path:
    """Weights of a type, cast to INT8."""
    weights = helper.make_tensor("w", stored, [2], np.array([1, -2]))
    graph = helper.make_graph(
        [helper.make_node("Cast", ["w"], ["y"], to=TensorProto.INT8)],
        "graph",
        [],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [2])],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version), path)
    return path


@pytest.mark.parametrize(
    ("opset", "ir_version", "stored", "first"),
    [
        (13, 7, TensorProto.INT32, "1.15"),
        (19, 9, TensorProto.INT32, "1.15"),
        (20, 9, TensorProto.INT32, "1.17"),
        (13, 10, TensorProto.INT32, "1.18"),
        (21, 10, TensorProto.INT32, "1.18"),
        (21, 10, TensorProto.INT4, "1.23"),
    ],
)
def test_opset_ir_version_and_types_decide(
    tmp_path: Path, opset: int, ir_version: int, stored: int, first: str
) -> None:
    release = taken_by(file_of(tmp_path / "model.onnx", opset, ir_version, stored))
    assert release is not None and release.version == first


def test_a_product_that_gives_codes_came_late_to_opset_21(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["q"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("q", TensorProto.UINT8, [2, 2])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
        ],
    )
    for opset, first in ((21, "1.20"), (17, "1.15")):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.save(model, tmp_path / "model.onnx")
        release = taken_by(tmp_path / "model.onnx")
        assert release is not None and release.version == first


def test_what_no_release_is_known_to_take(tmp_path: Path) -> None:
    assert taken_by(file_of(tmp_path / "model.onnx", 25, 10, TensorProto.INT32)) is None
    (tmp_path / "other.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match="not a valid ONNX file"):
        taken_by(tmp_path / "other.onnx")
