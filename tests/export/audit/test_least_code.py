"""Weights of -128 in files of other tools are counted, in whatever form the file keeps them."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.audit.least_code import layers_with_least_code, note_of_least_codes

CODES = np.asarray([[[[-128]], [[-128]]], [[[5]], [[127]]]], np.int8)


def model(nodes: list[onnx.NodeProto], **constants: Any) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


def convolution(codes: Any) -> ir.Model:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], axis=0),
        helper.make_node("Conv", ["x", "wd"], ["y"], name="layer"),
    ]
    return model(nodes, w=codes, s=np.ones(2, np.float32), z=np.zeros(2, codes.dtype))


def test_a_weight_of_the_least_code_is_found_and_said() -> None:
    found = convolution(CODES)
    assert layers_with_least_code(found) == ["layer"]
    told = note_of_least_codes(found)
    assert told is not None and "1 layer has weights of the code -128" in told and "ARM64" in told


@pytest.mark.parametrize("codes", [CODES.clip(-127), (CODES.astype(np.int16) + 128).astype(np.uint8)])
def test_others_are_not(codes: Any) -> None:
    assert note_of_least_codes(convolution(codes)) is None


@pytest.mark.parametrize(("scale", "found"), [(1.0, ["layer"]), (128 / 127, [])])
def test_float_weights_with_a_quantizer_behind_them_are_rounded(scale: float, found: list[str]) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"], axis=0),
        helper.make_node("Transpose", ["wd"], ["wt"], perm=[1, 0, 2, 3]),
        helper.make_node("Conv", ["x", "wt"], ["y"], name="layer"),
    ]
    scales = np.full(2, scale, np.float32)
    assert layers_with_least_code(model(nodes, w=CODES.astype(np.float32), s=scales, z=np.zeros(2, np.int8))) == found


def test_integer_operators_have_weights_too_and_a_zero_point_is_none() -> None:
    inputs = ["xq", "s", "z", "w", "s", "wz", "s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("QLinearConv", inputs, ["yq"], name="layer"),
        helper.make_node("DequantizeLinear", ["yq", "s", "z"], ["y"]),
    ]
    points = {"s": np.float32(1), "z": np.int8(-128), "wz": np.int8(0)}
    assert layers_with_least_code(model(nodes, w=CODES, **points)) == ["layer"]
    assert layers_with_least_code(model(nodes, w=CODES.clip(-127), **points)) == []
