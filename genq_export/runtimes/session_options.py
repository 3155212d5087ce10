"""How every session of ONNX Runtime and OpenVINO of this package is set up.

CPUs without VNNI instructions (AVX2 alone, and AVX-512 before Cascade Lake) multiply uint8 by int8 with `vpmaddubsw`,
which adds pairs of products in 16 bits and saturates: with 8-bit weights a sum of two products may be cut off, and the
result is silently wrong. `session.x64quantprecision` makes the runtime turn such weights into uint8, whose kernels are
exact; weights in [-64, 64], so all of 4 bits, are left alone. It does so on CPUs with VNNI as well, where the kernels
that it avoids are exact and twice as fast. So it is set where one sum, computed here, is found to saturate.
"""

from functools import cache
from typing import Any

import numpy as np

EXACT_CODE = 200
EXACT_PRODUCTS = ("session.x64quantprecision", "1")
# A file for TensorRT computed as it is written: the runtime's own rewriting for the CPU rounds its float biases, and
# fails to load attention (ONNX Runtime 1.32: a Q/DQ pair moved behind a Transpose keeps the type INT8 as UINT8).
AS_WRITTEN = ("session.disable_quant_qdq", "1")


def session_options(threads: int = 0, as_written: bool = False) -> Any:
    """`onnxruntime.SessionOptions` of a default session that computes what the file says; threads 0: all cores.

    as_written: for a file whose form is TensorRT's; its Q/DQ are computed in float, not made into integer kernels.
    """
    options = plain_options(threads)
    if sums_saturate():
        options.add_session_config_entry(*EXACT_PRODUCTS)
    if as_written:
        options.add_session_config_entry(*AS_WRITTEN)
    return options


def plain_options(threads: int = 0) -> Any:
    """`onnxruntime.SessionOptions` of a session as the runtime sets it up itself; threads 0: all cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return options


def openvino_settings(threads: int = 0) -> dict[str, Any]:
    """Of a model that OpenVINO compiles; threads 0: all cores.

    Float layers in float32: with its own choice, bfloat16 on some CPUs, codes behind them would differ.
    """
    return {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}


@cache
def sums_saturate() -> bool:
    """Does a default session of ONNX Runtime cut off sums of 8-bit products on this processor?"""
    return largest_sum() != EXACT_CODE


def largest_sum(*entries: tuple[str, str]) -> int:
    """The code of a convolution of the largest codes, `EXACT_CODE` where nothing saturates. entries: of the session."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    products = 8 * 3 * 3
    constants = {
        "w": np.full((16, 8, 3, 3), 127, np.int8), "one": np.float32(1), "zero": np.uint8(0), "w_zero": np.int8(0),
        "y_scale": np.float32(products * 255 * 127 / EXACT_CODE),
    }  # fmt: skip
    inputs = ["x", "one", "zero", "w", "one", "w_zero", "y_scale", "zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", inputs, ["y"])],
        "one convolution",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 8, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 16, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = plain_options(1)
    for entry in entries:
        options.add_session_config_entry(*entry)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    codes = session.run(None, {"x": np.full((1, 8, 8, 8), 255, np.uint8)})[0]
    return int(codes.max()) if codes.max() == codes.min() else 0
