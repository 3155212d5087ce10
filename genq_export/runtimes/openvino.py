"""OpenVINO on the CPU, reading the very file that is made for ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np

from genq_export.core.errors import BackendError, BackendMissing, reason_of
from genq_export.network.onnx_graph import deployed_outputs, read_model
from genq_export.runtimes.base import Batch, Codes, Outputs, Runtime, Session
from genq_export.runtimes.probe import Probe

# Float layers in float32: with OpenVINO's own choice, bfloat16 on some CPUs, codes behind them would differ.
_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
# Off, the Q/DQ graph is computed in float as it is written. Without the second, some layers still compute in less than
# float32 on CPUs with bfloat16.
_NOT_TRANSFORMED = {"LP_TRANSFORMS_MODE": "NO", "EXECUTION_MODE_HINT": "ACCURACY"}


class OpenVino(Runtime):
    """transformed: with its low-precision transformations, as users run it."""

    product = "OpenVINO"
    distributions = ("openvino",)

    def __init__(self, name: str, transformed: bool = True) -> None:
        self.name, self._settings = name, _FLOAT32
        if not transformed:
            self.manner, self.purpose = "as written", "experiment"
            self._settings = _FLOAT32 | _NOT_TRANSFORMED

    def open(self, path: Path, threads: int = 0) -> "OpenVinoSession":
        """A compiled model on the CPU."""
        return OpenVinoSession(path, threads, self, self._settings)


OPENVINO = OpenVino("openvino")
OPENVINO_AS_WRITTEN = OpenVino("openvino-as-written", transformed=False)


class OpenVinoSession(Session):
    """A file in OpenVINO. settings: of the compiled model, besides the threads."""

    def __init__(
        self, path: Path, threads: int = 0, runtime: Runtime = OPENVINO, settings: dict[str, Any] = _FLOAT32
    ) -> None:
        try:
            import openvino
        except ImportError:
            raise BackendMissing("OpenVINO is not installed: pip install 'genq-export[openvino]'") from None
        self.name, self.title = runtime.name, runtime.titled(openvino.__version__.split("-")[0])
        self._path, self._core = path, openvino.Core()
        self._settings = {**settings, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        proto = read_model(path)
        self._names = deployed_outputs(proto)
        self._model = self._load(proto.SerializeToString())
        self._probe = Probe(path, self._load, self._run)

    def _load(self, content: bytes) -> Any:
        try:
            return self._core.compile_model(self._core.read_model(content), "CPU", self._settings)
        except Exception as error:  # openvino raises RuntimeError and others
            raise BackendError(f"{self.title} does not load {self._path.name}: {reason_of(error)}") from None

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name."""
        return self._run(self._model, batch, [])[0]

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and codes by quantizer name."""
        return self._probe.codes(batch)

    def _run(self, model: Any, batch: Batch, tensors: list[str]) -> tuple[Outputs, list[Any]]:
        try:
            found = model([batch])
        except Exception as error:
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}: {reason_of(error)}") from None
        arrays = [np.array(found[number]) for number in range(len(self._names) + len(tensors))]
        return dict(zip(self._names, arrays, strict=False)), arrays[len(self._names) :]

    def close(self) -> None:
        """Drop the compiled models."""
        self._model = None
        self._probe.close()
