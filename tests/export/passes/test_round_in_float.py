"""A number is rounded before it is shifted, and gets the code that it had."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.passes.round_in_float import RoundInFloat
from genq_export.network.containers import reciprocal
from genq_export.quantization.reciprocal_ties import borders_in_doubt


def clear_scale() -> np.float32:
    """One at which dividing and multiplying round alike."""
    scales = np.linspace(0.05, 0.051, 200, dtype=np.float32)
    return next(scale for scale in scales if not borders_in_doubt(scale, (-128, 127), (-128, 127)))


SCALE = clear_scale()


def graph(zero: np.generic, reader: str = "Conv", limits: tuple[int, int] | None = None) -> onnx.ModelProto:
    """x -> QuantizeLinear (-> Clip) -> DequantizeLinear -> `reader`; codes are an output."""
    stored = {
        "scale": np.array(SCALE), "zero": np.array(zero), "weight": np.ones((4, 4, 1, 1), np.float32),
        "shape": np.array([1, 4, 4, 4]),
        "low": np.array((limits or (0, 0))[0], zero.dtype), "high": np.array((limits or (0, 0))[1], zero.dtype),
    }  # fmt: skip
    if reader == "MatMul":
        stored["weight"] = np.ones((4, 4), np.float32)
    nodes = [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"])]
    if limits:
        nodes.append(helper.make_node("Clip", ["codes", "low", "high"], ["limited"]))
    nodes.append(helper.make_node("DequantizeLinear", [nodes[-1].output[0], "scale", "zero"], ["numbers"]))
    nodes.append(helper.make_node("Reshape", ["numbers", "shape"], ["moved"]))
    nodes.append(helper.make_node(reader, ["moved", "weight"], ["y"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4, 4])]
    kind = TensorProto.INT8 if zero.dtype == np.int8 else TensorProto.UINT8
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4]),
        helper.make_tensor_value_info("codes", kind, [1, 4, 4, 4]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    made = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def passed(before: onnx.ModelProto) -> onnx.ModelProto:
    model = ir.from_proto(before)
    RoundInFloat()(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    return after


@pytest.mark.parametrize("zero", [np.int8(0), np.int8(-20)])
def test_every_number_keeps_its_code(zero: np.int8) -> None:
    before = graph(zero)
    after = passed(before)
    kinds = [node.op_type for node in after.graph.node]
    assert kinds[:4] == ["Mul", "Round", "QuantizeLinear", "DequantizeLinear"]
    beside = (np.arange(-128, 127) + 0.5) * np.float64(SCALE)
    x = np.resize((beside[:, None] * (1 + np.arange(-4, 5) * 6e-8)).astype(np.float32), (40, 4, 4, 4))
    if zero:
        x = np.random.default_rng(0).normal(0, 4, x.shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = [onnxruntime.InferenceSession(model.SerializeToString(), options) for model in (before, after)]
    for image in x:
        (_, codes), (_, rounded) = (session.run(None, {"x": image[None]}) for session in sessions)
        assert np.array_equal(codes, rounded)


@pytest.mark.parametrize(
    ("zero", "reader", "limits", "first"),
    [
        (np.int8(0), "Conv", (-64, 63), True), (np.int8(0), "Conv", (-8, 7), False),
        (np.int8(0), "MatMul", None, False), (np.uint8(128), "Conv", None, False),
    ],
)  # fmt: skip
def test_wide_signed_grids_that_convolutions_read_are_rounded_first(
    zero: np.generic, reader: str, limits: tuple[int, int] | None, first: bool
) -> None:
    kinds = [node.op_type for node in passed(graph(zero, reader, limits)).graph.node]
    assert ("Round" in kinds) is first


def test_a_reciprocal_is_openvinos() -> None:
    scale = np.float32(0.3)
    assert reciprocal(scale, (-128, 127)) == np.float32(255) / (np.float32(127) * scale + np.float32(128) * scale)
