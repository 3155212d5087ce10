"""A convolution of the largest codes, whose result is known: runtimes that hold sums of pairs in 16 bits cut it off."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from genq_export.network.names import codes_tensor, weight_tensor

# 18 products of 255 and 127, times the weight scale 0.01, on a grid of 50: code 117.
RIGHT_SUM = 5850.0


def largest_codes() -> onnx.ModelProto:
    """Uint8 codes up to 255 times int8 codes of 127: pairs of products reach 64,770, twice what 16 bits hold.

    Input float32 [B, 2, 3, 3], output float32 [B, 4, 1, 1], `RIGHT_SUM` for an input of 255.
    """
    constants = {
        "codes": np.full((4, 2, 3, 3), 127, np.int8), "weight_scale": np.full(4, 0.01, np.float32),
        "scale": np.float32(1), "zero": np.uint8(0), "out_scale": np.float32(50), "out_zero": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], [codes_tensor("input")]),
        helper.make_node("DequantizeLinear", [codes_tensor("input"), "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["codes", "weight_scale"], [weight_tensor("conv")], axis=0),
        helper.make_node("Conv", ["x", weight_tensor("conv")], ["y"], name="conv"),
        helper.make_node("QuantizeLinear", ["y", "out_scale", "out_zero"], [codes_tensor("logits")]),
        helper.make_node("DequantizeLinear", [codes_tensor("logits"), "out_scale", "out_zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one convolution",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["b", 2, 3, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 4, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
