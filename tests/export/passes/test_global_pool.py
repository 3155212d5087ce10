"""A mean over the whole image is pooled in integers, with the codes of the mean."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.passes.global_pool import PoolGlobally
from genq_export.runtimes.onnxruntime import session_options


def file(axes: list[int], keepdims: int, scales: tuple[float, float], shape: list[int | str]) -> ir.Model:
    """Codes -> the mean over some axes -> codes."""
    values = {
        "sx": np.float32(scales[0]), "zx": np.uint8(37), "sy": np.float32(scales[1]), "zy": np.uint8(99),
        "axes": np.array(axes),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "sx", "zx"], ["x"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=keepdims),
        helper.make_node("QuantizeLinear", ["m", "sy", "zy"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    given = [helper.make_tensor_value_info("q", TensorProto.UINT8, shape)]
    known = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    made = [helper.make_tensor_value_info("y", TensorProto.UINT8, None)]
    graph = helper.make_graph(nodes, "mean", given, made, tensors, value_info=known)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("size", [(7, 7), (5, 11), (1, 1), ("h", "w")])
def test_codes_are_those_of_the_mean(keepdims: int, size: tuple[int | str, int | str]) -> None:
    model = file([2, 3], keepdims, (0.0371, 0.0113), ["n", 16, *size])
    assert PoolGlobally()(model).modified
    assert "ReduceMean" not in [node.op_type for node in model.graph] and "axes" not in model.graph.initializers
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), session_options(1))
    places = tuple(9 if isinstance(part, str) else part for part in size)
    codes = np.random.default_rng(0).integers(20, 70, (8, 16, *places)).astype(np.uint8)
    (found,) = session.run(None, {"q": codes})
    mean = ((torch.from_numpy(codes).float() - 37) * 0.0371).mean((2, 3), keepdim=bool(keepdims))
    wanted = torch.clamp(torch.round(mean / 0.0113) + 99, 0, 255)
    assert np.array_equal(found, wanted.numpy().astype(np.uint8))


@pytest.mark.parametrize(
    ("axes", "scales", "shape"),
    [
        ([1], (0.1, 0.3), ["n", 4, 6, 6]),
        ([2], (0.1, 0.3), ["n", 4, 6, 6]),
        ([1, 2], (0.1, 0.3), ["n", 4, 6]),
        ([2, 3], (0.25, 0.125), ["n", 4, 6, 5]),
    ],
)
def test_other_means_and_ties_stay(axes: list[int], scales: tuple[float, float], shape: list[int | str]) -> None:
    model = file(axes, 1, scales, shape)
    assert not PoolGlobally()(model).modified
    assert [node.op_type for node in model.graph].count("ReduceMean") == 1
