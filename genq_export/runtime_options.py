"""How every ONNX Runtime session of this package is set up.

CPUs without VNNI instructions (AVX2 alone, and AVX-512 before Cascade Lake) multiply uint8 by int8 with `vpmaddubsw`,
which adds pairs of products in 16 bits and saturates: with 8-bit weights a sum of two products may be cut off, and the
result is silently wrong. `session.x64quantprecision` makes the runtime turn such weights into uint8, whose kernels are
exact, on these CPUs only; weights in [-64, 64], so all of 4 bits, are left alone. It changes nothing elsewhere.
"""

from typing import Any

EXACT_PRODUCTS = ("session.x64quantprecision", "1")
# A file for TensorRT computed as it is written: the runtime's own rewriting for the CPU rounds its float biases, and
# fails to load attention (ONNX Runtime 1.32: a Q/DQ pair moved behind a Transpose keeps the type INT8 as UINT8).
AS_WRITTEN = ("session.disable_quant_qdq", "1")


def session_options(threads: int = 0, as_written: bool = False) -> Any:
    """`onnxruntime.SessionOptions` of a default session that computes what the file says; threads 0: all cores.

    as_written: for a file whose form is TensorRT's; its Q/DQ are computed in float, not made into integer kernels.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*EXACT_PRODUCTS)
    if as_written:
        options.add_session_config_entry(*AS_WRITTEN)
    return options
