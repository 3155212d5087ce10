"""ONNX Runtime on the CPU: how every session of this package is set up, and what it computes.

CPUs without VNNI instructions (AVX2 alone, and AVX-512 before Cascade Lake) multiply uint8 by int8 with `vpmaddubsw`,
which adds pairs of products in 16 bits and saturates: with 8-bit weights a sum of two products may be cut off, and the
result is silently wrong. `session.x64quantprecision` makes the runtime turn such weights into uint8, whose kernels are
exact; weights in [-64, 64], so all of 4 bits, are left alone. It does so on CPUs with VNNI as well, where the kernels
that it avoids are exact and twice as fast. So it is set where one sum, computed here, is found to saturate.
"""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genq_export.config.releases import EXACT_SINCE, release_of
from genq_export.core.errors import BackendError, BackendMissing, reason_of
from genq_export.runtimes.base import Batch, Codes, Outputs, Runtime, Session
from genq_export.runtimes.probe import Probe

if TYPE_CHECKING:
    import onnx

EXACT_CODE = 200
EXACT_PRODUCTS = ("session.x64quantprecision", "1")
# A file for TensorRT computed as it is written: the runtime's own rewriting for the CPU rounds its float biases, and
# up to 1.23, and in opset 21 even in 1.32, fails to load attention: a Q/DQ pair moved behind a Transpose keeps the type
# INT8 as UINT8.
AS_WRITTEN = ("session.disable_quant_qdq", "1")


class OnnxRuntime(Runtime):
    """optimised: as users run a file; otherwise every graph optimisation is off and the Q/DQ graph is computed in
    float, operator by operator."""

    product = "ONNX Runtime"
    distributions = ("onnxruntime",)

    def __init__(self, name: str, optimised: bool = True) -> None:
        self.name, self._optimised = name, optimised
        if not optimised:
            self.manner, self.purpose = "optimisations off", "diagnosis"

    def open(self, path: Path, threads: int = 0) -> "OnnxRuntimeSession":
        """A session on the CPU."""
        return OnnxRuntimeSession(path, threads, self, self._optimised)

    def open_build(self, path: Path, threads: int, container: str | None) -> "OnnxRuntimeSession":
        """A file with INT8 activations has the form of another runtime: it is computed as it is written."""
        return OnnxRuntimeSession(path, threads, self, self._optimised, as_written=container == "int8")


ONNXRUNTIME = OnnxRuntime("onnxruntime")
ONNXRUNTIME_UNFUSED = OnnxRuntime("onnxruntime-unfused", optimised=False)


class OnnxRuntimeSession(Session):
    """A file in ONNX Runtime. as_written: see `session_options`."""

    def __init__(
        self,
        path: Path,
        threads: int = 0,
        runtime: Runtime = ONNXRUNTIME,
        optimised: bool = True,
        as_written: bool = False,
    ) -> None:
        ort = _package()
        self.name, self.title = runtime.name, runtime.titled(ort.__version__)
        self._path, self._threads, self._optimised, self._as_written = path, threads, optimised, as_written
        self._session = self._load(str(path))
        self._names = [output.name for output in self._session.get_outputs()]
        self._probe = Probe(path, self._load, self._run)

    def _load(self, model: str | bytes) -> Any:
        ort = _package()
        options = session_options(self._threads, self._as_written)
        refuse_what_ends_the_process(model, self._path.name)
        if not self._optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no public base class
            raise BackendError(f"{self.title} does not load {self._path.name}: {reason_of(error)}") from None

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name."""
        return self._run(self._session, batch, [])[0]

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and codes by quantizer name."""
        return self._probe.codes(batch)

    def _run(self, session: Any, batch: Batch, tensors: list[str]) -> tuple[Outputs, list[Any]]:
        try:
            found: list[Any] = session.run([*self._names, *tensors], {session.get_inputs()[0].name: batch})
        except Exception as error:
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}: {reason_of(error)}") from None
        count = len(self._names)
        return dict(zip(self._names, map(_as_given, found[:count]), strict=True)), found[count:]

    def close(self) -> None:
        """Drop the sessions."""
        self._session = None
        self._probe.close()


def _as_given(output: Any) -> Any:
    """An output as float32, but for codes."""
    return output if output.dtype in (np.uint8, np.int8) else np.asarray(output, np.float32)


def session_options(threads: int = 0, as_written: bool = False, saturating: bool | None = None) -> Any:
    """`onnxruntime.SessionOptions` of a default session that computes what the file says.

    Args:
        threads: 0: all cores.
        as_written: for a file whose form is TensorRT's; its Q/DQ are computed in float, not made into integer kernels.
        saturating: do sums of 8-bit products saturate on this processor? None: found out here.
    """
    options = plain_options(threads)
    if sums_saturate() if saturating is None else saturating:
        options.add_session_config_entry(*EXACT_PRODUCTS)
    if as_written:
        options.add_session_config_entry(*AS_WRITTEN)
    return options


def plain_options(threads: int = 0) -> Any:
    """`onnxruntime.SessionOptions` of a session as the runtime sets it up itself; threads 0: all cores."""
    options = _package().SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return options


def refuse_what_ends_the_process(model: str | bytes, name: str, saturating: bool | None = None) -> None:
    """Raise BackendError where a session of `session_options` would end the whole process over a file.

    Args:
        model: path or content.
        name: what the file is called.
        saturating: as there.
    """
    here = str(_package().__version__)
    if release_of(here).implicit_zero_points or not (sums_saturate() if saturating is None else saturating):
        return
    import onnx

    loaded = (
        onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(model, load_external_data=False)
    )
    if not lacks_zero_points(loaded):
        return
    older = ".".join(here.split(".")[:2])
    raise BackendError(
        f"ONNX Runtime {here} ends the process over {name} where 8-bit sums must be made exact, as on this processor:"
        f" install onnxruntime {EXACT_SINCE} or newer; a build with --set export.minimum_runtime={older} works here"
    )


def lacks_zero_points(model: "onnx.ModelProto") -> bool:
    """Has a model INT8 weights without a zero-point?"""
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
    return any(
        node.op_type == "DequantizeLinear" and node.input[0] in weights and len(node.input) < 3
        for node in model.graph.node
    )


@cache
def sums_saturate() -> bool:
    """Does a default session of ONNX Runtime cut off sums of 8-bit products on this processor?"""
    return largest_sum() != EXACT_CODE


def largest_sum(*entries: tuple[str, str]) -> int:
    """The code of a convolution of the largest codes, `EXACT_CODE` where nothing saturates. entries: of the session."""
    options = plain_options(1)
    for entry in entries:
        options.add_session_config_entry(*entry)
    session = _package().InferenceSession(_largest_convolution(), options, providers=["CPUExecutionProvider"])
    codes = session.run(None, {"x": np.full((1, 8, 8, 8), 255, np.uint8)})[0]
    return int(codes.max()) if codes.max() == codes.min() else 0


def _largest_convolution() -> bytes:
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
    return bytes(model.SerializeToString())


def _package() -> Any:
    # Telemetry and thread-affinity warnings would end up between our lines.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise BackendMissing("ONNX Runtime is not installed (pip install onnxruntime)") from None
    return onnxruntime
