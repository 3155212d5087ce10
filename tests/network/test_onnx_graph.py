"""Reading a file back: quantizers in order, what they are computed from, and who reads their codes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from genq_export.core.errors import BackendError
from genq_export.network.names import codes_tensor, weight_tensor
from genq_export.network.onnx_graph import layer_names, quantizers, read_model, with_code_outputs


@pytest.fixture
def model() -> onnx.ModelProto:
    """input -> conv -> act (clipped) -> conv again, and the sum of both, quantized in int8."""
    constants = {
        "weight": np.ones((2, 2, 1, 1), np.int8), "s": np.full(2, 0.1, np.float32), "one": np.float32(0.1),
        "z": np.uint8(3), "z8": np.int8(0), "low": np.uint8(0), "high": np.uint8(15),
    }  # fmt: skip
    act, sums = codes_tensor("act"), codes_tensor("sum")
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "one", "z"], [codes_tensor("input")]),
        helper.make_node("DequantizeLinear", [codes_tensor("input"), "one", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["weight", "s"], [weight_tensor("first")], axis=0),
        helper.make_node("Conv", ["x", weight_tensor("first")], ["y"], name="first"),
        helper.make_node("Relu", ["y"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "one", "z"], ["wide"]),
        helper.make_node("Clip", ["wide", "low", "high"], [act]),
        helper.make_node("DequantizeLinear", [act, "one", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["weight", "s"], [weight_tensor("second")], axis=0),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("Conv", ["t", weight_tensor("second")], ["b"], name="second"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "one", "z8"], [sums]),
        helper.make_node("DequantizeLinear", [sums, "one", "z8"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sum of two",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["b", 2, 3, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2, 3, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_quantizers_know_their_neighbours(model: onnx.ModelProto) -> None:
    found = {node.name: node for node in quantizers(model)}
    assert list(found) == ["input", "act", "sum"]
    assert [node.inputs for node in found.values()] == [(), ("input",), ("act",)]
    assert [node.layers for node in found.values()] == [(), ("first",), ("second",)]
    assert [node.feeds for node in found.values()] == [("first",), ("second",), ()]
    assert [node.dtype for node in found.values()] == ["uint8", "uint8", "int8"]
    assert all(node.tensor == codes_tensor(node.name) for node in found.values())


def test_a_copy_gives_every_code(model: onnx.ModelProto) -> None:
    count = len(model.graph.output)
    session = onnxruntime.InferenceSession(with_code_outputs(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == ["logits", *(codes_tensor(name) for name in ("input", "act", "sum"))]
    _, codes, act, sums = session.run(None, {"input": np.ones((1, 2, 3, 3), np.float32)})
    assert (codes.dtype, act.dtype, sums.dtype) == (np.uint8, np.uint8, np.int8)
    assert set(codes.ravel()) == {13} and act.max() <= 15
    assert len(model.graph.output) == count, "the model itself is not touched"


def test_a_file_that_is_none_is_an_error_of_the_backend(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no protobuf")
    for name in ("model.onnx", "missing.onnx"):
        with pytest.raises(BackendError, match=f"cannot read {name}"):
            read_model(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_people_do(names: list[str], said: str) -> None:
    assert layer_names(names) == said
