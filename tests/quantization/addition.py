"""ONNX Runtime's integer addition on every pair of codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def all_pairs_added(scales: Sequence[np.float32], zeros: NDArray[np.int64], result: Any) -> NDArray[np.uint8]:
    """Codes [256, 256] of q_a + q_b for all uint8 codes. zeros: of a, b and the result; result: its scale."""
    constants = {
        "s_a": scales[0], "s_b": scales[1], "s_y": np.asarray(result, np.float32),
        **{name: np.uint8(zero) for name, zero in zip(("z_a", "z_b", "z_y"), zeros, strict=True)},
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["q_a", "s_a", "z_a"], ["a"]),
        helper.make_node("DequantizeLinear", ["q_b", "s_b", "z_b"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "s_y", "z_y"], ["q"]),
    ]
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.UINT8, ["n"]) for name in ("q_a", "q_b", "q")}
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "addition", [tensors["q_a"], tensors["q_b"]], [tensors["q"]], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    a, b = (np.ascontiguousarray(part.ravel(), np.uint8) for part in np.mgrid[:256, :256])
    added: NDArray[np.uint8] = session.run(None, {"q_a": a, "q_b": b})[0].reshape(256, 256)
    return added
