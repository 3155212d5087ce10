"""INT8 weights with a zero-point each, and nothing else changed."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export.passes.weight_zero_points import WriteWeightZeroPoints


def network() -> onnx.ModelProto:
    """Two layers that share a scale, a bias in INT32, and a weight with a zero-point of its own."""
    arrays = {
        "a": np.arange(-6, 6, dtype=np.int8).reshape(3, 4), "b": np.ones((3, 4), np.int8),
        "c": np.full((3, 4), 7, np.int8), "scale": np.float32([0.5, 1, 2]), "shift": np.int8([1, 2, 3]),
        "bias": np.int32([1, 2, 3]),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "scale"], ["A"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "scale"], ["B"], axis=0),
        helper.make_node("DequantizeLinear", ["c", "scale", "shift"], ["C"], axis=0),
        helper.make_node("DequantizeLinear", ["bias", "scale"], ["D"], axis=0),
        helper.make_node("Sum", ["A", "B", "C", "x"], ["y"]),
        helper.make_node("Identity", ["D"], ["d"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, size) for n, size in (("y", [3, 4]), ("d", [3]))]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "graph", [x], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_every_weight_has_a_zero_point_of_its_own_and_computes_the_same() -> None:
    before, model = network(), ir.from_proto(network())
    ir.passes.Sequential(WriteWeightZeroPoints())(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    inputs = {node.output[0]: list(node.input) for node in after.graph.node}
    assert [len(inputs[name]) for name in "ABCD"] == [3, 3, 3, 2]
    assert len({inputs[name][2] for name in "ABC"}) == 3 and inputs["C"][2] == "shift"
    feed = {"x": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    for one, other in zip(*(outputs_of(proto, feed) for proto in (before, after)), strict=True):
        assert np.array_equal(one, other)


def outputs_of(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, feed)
    return found
