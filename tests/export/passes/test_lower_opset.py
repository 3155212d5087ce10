"""Operators in the lowest opset that has them compute what they did."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.passes.lower_opset import LowerOpset

SHAPE = (2, 3, 4, 8)


def model_of(opset: int, nodes: Sequence[NodeProto], **constants: Any) -> onnx.ModelProto:
    """A graph from `x` float32 [2, 3, 4, 8] to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = ir.from_proto(model)
    LowerOpset()(graph)
    found: onnx.ModelProto = ir.to_proto(graph)
    onnx.shape_inference.infer_shapes(found, check_type=True, strict_mode=True)
    return found


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


ONE = {"scale": np.float32(0.1), "zero": np.uint8(128)}
CASES = {
    "axes that are an attribute": (
        13, 18, [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)], {"axes": np.array([2, 3])}
    ),
    "axes that are left out": (13, 18, [helper.make_node("ReduceMax", ["x"], ["y"], noop_with_empty_axes=0)], {}),
    "axes that change nothing": (
        18, 18, [helper.make_node("ReduceMean", ["x"], ["y"], noop_with_empty_axes=1)], {}
    ),
    "quantizers": (
        13, 21,
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], block_size=0, saturate=1, output_dtype=0),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], block_size=0),
        ],
        ONE,
    ),
    "a shape without zeros": (
        13, 18, [helper.make_node("Reshape", ["x", "sizes"], ["y"], allowzero=1)], {"sizes": np.array([2, -1])}
    ),
    "LayerNorm": (
        17, 21, [helper.make_node("LayerNormalization", ["x", "w"], ["y"])], {"w": np.ones(8, np.float32)}
    ),
    "GELU": (20, 21, [helper.make_node("Gelu", ["x"], ["y"])], {}),
    "parts counted": (18, 18, [helper.make_node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)], {}),
    "a ReLU on integers": (
        14, 18,
        [
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
            helper.make_node("Relu", ["i"], ["j"]),
            helper.make_node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
        ],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_lowest_opset_computes_the_same(case: str) -> None:
    lowest, opset, nodes, constants = CASES[case]
    model = model_of(opset, nodes, **constants)
    found = lowered(model)
    assert found.opset_import[0].version == lowest
    assert np.array_equal(answer(found), answer(model))


def test_axes_that_are_computed_keep_the_opset() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"], start=0, end=1),
        helper.make_node("ReduceMean", ["x", "sizes"], ["y"]),
    ]
    assert lowered(model_of(18, nodes)).opset_import[0].version == 18
