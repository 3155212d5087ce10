"""One small class a runtime. Each takes the same float32 batch and gives logits, and the codes at every quantizer."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendError, BackendMissing
from genq_export.network.names import quantizer_of
from genq_export.network.onnx_graph import quantizers, read_model, with_code_outputs
from genq_export.runtimes.session_options import openvino_settings, session_options

Batch = NDArray[np.float32]
OPENVINO_AS_WRITTEN = "openvino-as-written"
Codes = dict[str, NDArray[Any]]


class Backend(Protocol):
    """A runtime that has a network loaded.

    name: key in results (`onnxruntime`). title: what a reader sees, with the version. device: where it computes.
    """

    name: str
    title: str
    device: str

    def logits(self, batch: Batch) -> Batch:
        """float32 [B, C, H, W] -> float32 [B, K]. Raises BackendError."""

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """As `logits`, with codes by quantizer name, in the integer type of their container. Raises BackendError."""

    def close(self) -> None:
        """Free what the runtime holds."""


class TorchBackend:
    """A torch module in this process: the float network, the fake-quant reference or the integer oracle.

    record: `record_codes(module, x)` of the quantization core, or None for a network without quantizers.
    """

    def __init__(
        self, name: str, title: str, module: Any, record: Callable[..., Any] | None = None, device: str = "cpu"
    ) -> None:
        self.name, self.title, self.device = name, title, device
        self.module = module.to(device)
        self._record = record

    def logits(self, batch: Batch) -> Batch:
        """float32 [B, C, H, W] -> float32 [B, K]."""
        import torch

        with torch.inference_mode():
            return _numpy(self.module(torch.from_numpy(batch).to(self.device)))

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """Logits and int32 codes by quantizer name; no codes for a network without quantizers."""
        import torch

        if self._record is None:
            return self.logits(batch), {}
        with torch.inference_mode():
            logits, codes = self._record(self.module, torch.from_numpy(batch).to(self.device))
        return _numpy(logits), {name: code.cpu().numpy().astype(np.int32) for name, code in codes.items()}

    def close(self) -> None:
        """Nothing to free."""


class OnnxRuntimeBackend:
    """ONNX Runtime on the CPU.

    optimised: the default session, as users run the file; otherwise every graph optimisation is off and the Q/DQ graph
    is computed in float, operator by operator.
    """

    def __init__(self, path: Path, name: str = "onnxruntime", optimised: bool = True, threads: int = 0):
        ort = _import_onnxruntime()
        self.name = name
        self.title = f"ONNX Runtime {ort.__version__}" + ("" if optimised else ", optimisations off")
        self.device = "cpu"
        self._path, self._optimised, self._threads = path, optimised, threads
        self._session = self._load(str(path))
        self._probe: Any = None
        self._probed: list[str] = []

    def _load(self, model: str | bytes) -> Any:
        ort = _import_onnxruntime()
        options = session_options(self._threads)
        if not self._optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ORT raises a family of its own without a common base
            raise BackendError(f"{self.title} does not load {self._path.name}: {_first_line(error)}") from None

    def logits(self, batch: Batch) -> Batch:
        """float32 [B, C, H, W] -> float32 [B, K]."""
        logits: Batch = self._run(self._session, [self._session.get_outputs()[0].name], batch)[0]
        return logits

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """Logits and codes of a copy of the graph that has every code tensor as an output."""
        if self._probe is None:
            model = read_model(self._path)
            self._probed = [quantizer.tensor for quantizer in quantizers(model)]
            self._probe = self._load(with_code_outputs(model))
        outputs = self._run(self._probe, [self._probe.get_outputs()[0].name, *self._probed], batch)
        names = [str(quantizer_of(tensor)) for tensor in self._probed]
        return outputs[0], dict(zip(names, outputs[1:], strict=True))

    def _run(self, session: Any, outputs: list[str], batch: Batch) -> list[Any]:
        try:
            result: list[Any] = session.run(outputs, {session.get_inputs()[0].name: batch})
        except Exception as error:
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}: {_first_line(error)}") from None
        return result

    def close(self) -> None:
        """Drop the sessions."""
        self._session = self._probe = None


class OpenVinoBackend:
    """OpenVINO on the CPU, reading the same ONNX file as `genq_export.load` does: float layers in float32.

    transformed: as users run it; otherwise its low-precision transformations are off and the Q/DQ graph is computed in
    float.
    """

    def __init__(self, path: Path, name: str = "openvino", threads: int = 0, transformed: bool = True):
        try:
            import openvino
        except ImportError:
            raise BackendMissing("OpenVINO is not installed (pip install openvino)") from None
        self.name, self.device = name, "cpu"
        self.title = f"OpenVINO {openvino.__version__.split('-')[0]}"
        self._path = path
        self._core = openvino.Core()
        self._settings = openvino_settings(threads)
        if not transformed:
            # Without the second, some layers still compute in less than float32 on CPUs with bfloat16.
            self._settings |= {"LP_TRANSFORMS_MODE": "NO", "EXECUTION_MODE_HINT": "ACCURACY"}
        self._model = self._load(read_model(path).SerializeToString())
        self._probe: Any = None
        self._probed: list[str] = []

    def _load(self, content: bytes) -> Any:
        try:
            return self._core.compile_model(self._core.read_model(content), "CPU", self._settings)
        except Exception as error:
            raise BackendError(f"{self.title} does not load {self._path.name}: {_first_line(error)}") from None

    def logits(self, batch: Batch) -> Batch:
        """float32 [B, C, H, W] -> float32 [B, K]."""
        return np.array(self._model([batch])[0])

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """Logits and codes of a copy of the graph that has every code tensor as an output."""
        if self._probe is None:
            model = read_model(self._path)
            self._probed = [quantizer.tensor for quantizer in quantizers(model)]
            self._probe = self._load(with_code_outputs(model))
        outputs = self._probe([batch])
        names = [str(quantizer_of(tensor)) for tensor in self._probed]
        return np.array(outputs[0]), {name: np.array(outputs[number + 1]) for number, name in enumerate(names)}

    def close(self) -> None:
        """Drop the compiled models."""
        self._model = self._probe = None


def reference_backend(folder: Path, device: str = "cpu") -> TorchBackend:
    """The fake-quant reference of a build folder, computing on codes. Raises BackendError where it cannot be loaded."""
    from genq_export.network.files import load_reference
    from genq_export.network.hooks import record_codes

    return TorchBackend("reference", "fake-quant reference", load_reference(folder), record_codes, device)


def oracle_backend(folder: Path, device: str = "cpu") -> TorchBackend:
    """The exact integer model of a build folder. Raises BackendError where it cannot be loaded."""
    from genq_export.network.files import load_integer_model
    from genq_export.network.hooks import record_codes

    title = "integer oracle" if device == "cpu" else f"integer oracle on {device}"
    return TorchBackend("oracle", title, load_integer_model(folder), record_codes, device)


def create(kind: str, path: Path, threads: int = 0) -> Backend:
    """A backend that reads a file of the build folder, by name. Raises BackendError."""
    if kind == "onnxruntime":
        return OnnxRuntimeBackend(path, threads=threads)
    if kind == "onnxruntime-unfused":
        return OnnxRuntimeBackend(path, name=kind, optimised=False, threads=threads)
    if kind == "openvino":
        return OpenVinoBackend(path, threads=threads)
    if kind == OPENVINO_AS_WRITTEN:
        return OpenVinoBackend(path, name=kind, threads=threads, transformed=False)
    if kind == "tensorrt":
        from genq_export.runtimes.tensorrt import TensorRtBackend

        return TensorRtBackend(path)
    raise BackendError(f"unknown backend '{kind}'")


def _import_onnxruntime() -> Any:
    # Telemetry and thread-affinity warnings would end up between our lines.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise BackendMissing("ONNX Runtime is not installed (pip install onnxruntime)") from None
    return onnxruntime


def _numpy(tensor: Any) -> Batch:
    result: Batch = tensor.detach().float().cpu().numpy()
    return result


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
