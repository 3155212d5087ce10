"""OpenVINO on the CPU: files made for it, and the very files that are made for ONNX Runtime."""

from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from genq_export.core.errors import BackendError, BackendMissing, reason_of
from genq_export.network.onnx_graph import deployed_outputs, read_model
from genq_export.runtimes.base import Batch, Codes, Outputs, Runtime, Session
from genq_export.runtimes.largest_codes import RIGHT_SUM, largest_codes
from genq_export.runtimes.probe import Probe

# Float layers in float32: with OpenVINO's own choice, bfloat16 on some CPUs, codes behind them would differ.
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
# Off, the Q/DQ graph is computed in float as it is written. Without the second, some layers still compute in less than
# float32 on CPUs with bfloat16.
NOT_TRANSFORMED = {"LP_TRANSFORMS_MODE": "NO", "EXECUTION_MODE_HINT": "ACCURACY"}


class OpenVino(Runtime):
    """transformed: with its low-precision transformations, as users run it."""

    product = "OpenVINO"
    distributions = ("openvino",)

    def __init__(self, name: str, transformed: bool = True) -> None:
        self.name, self._settings = name, FLOAT32
        if not transformed:
            self.manner, self.purpose = "as written", "experiment"
            self._settings = FLOAT32 | NOT_TRANSFORMED

    def open(self, path: Path, threads: int = 0) -> "OpenVinoSession":
        """A compiled model on the CPU."""
        return OpenVinoSession(path, threads, self, self._settings)


OPENVINO = OpenVino("openvino")
OPENVINO_AS_WRITTEN = OpenVino("openvino-as-written", transformed=False)


# 64 * 255 twice are 32,640.
_NARROW = 64
# Compiled models that a session keeps, one for each batch size.
_KEPT = 4


class OpenVinoSession(Session):
    """A file in OpenVINO. settings: of the compiled model, besides the threads.

    Every batch size has a compiled model of its own: with a free one, OpenVINO 2026.4 answers wrong from the class
    token of a transformer on (upstream issue 25744), and takes slower kernels for the rest. A file with weights of 8
    bits is computed as it is written, in float, where this processor's sums of their products saturate.
    """

    def __init__(
        self, path: Path, threads: int = 0, runtime: Runtime = OPENVINO, settings: dict[str, Any] = FLOAT32
    ) -> None:
        openvino = package()
        self.name, self.title = runtime.name, runtime.titled(openvino.__version__.split("-")[0])
        self._path, self._core = path, openvino.Core()
        self._settings = {**settings, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        proto = read_model(path)
        self._names = deployed_outputs(proto)
        if runtime is OPENVINO and has_wide_weights(proto) and sums_saturate():
            self._settings |= NOT_TRANSFORMED
            self.title += ", as written: 8-bit sums saturate on this processor"
        self._model = self._load(proto.SerializeToString())
        self.compiled(1)  # what it does not take it refuses here
        self._probe = Probe(path, self._load, self._run)

    def _load(self, content: bytes) -> "_ByBatchSize":
        def compiled(count: int) -> Any:
            try:
                model = self._core.read_model(content)
                model.reshape([count, *list(model.input(0).get_partial_shape())[1:]])
                return self._core.compile_model(model, "CPU", self._settings)
            except Exception as error:  # openvino raises RuntimeError and others
                reason = reason_of(error)
                raise BackendError(f"{self.title} does not load {self._path.name}: {reason}") from None

        return _ByBatchSize(compiled)

    def compiled(self, count: int) -> Any:
        """The compiled model for a number of images."""
        return self._model.for_images(count)

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name."""
        return self._run(self._model, batch, [])[0]

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and codes by quantizer name."""
        return self._probe.codes(batch)

    def _run(self, model: "_ByBatchSize", batch: Batch, tensors: list[str]) -> tuple[Outputs, list[Any]]:
        try:
            found = model.for_images(len(batch))([batch])
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}: {reason_of(error)}") from None
        arrays = [np.array(found[number]) for number in range(len(self._names) + len(tensors))]
        return dict(zip(self._names, arrays, strict=False)), arrays[len(self._names) :]

    def close(self) -> None:
        """Drop the compiled models."""
        self._model.for_images.cache_clear()
        self._probe.close()


class _ByBatchSize:
    """Compiled models of one file by the number of images, the last few of them."""

    def __init__(self, compiled: Callable[[int], Any]) -> None:
        self.for_images = lru_cache(maxsize=_KEPT)(compiled)


def has_wide_weights(model: onnx.ModelProto) -> bool:
    """Are there weight codes of which two, times the largest activation codes, exceed 16 bits?"""
    stored = (item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT8 and item.dims)
    return any(int(np.abs(numpy_helper.to_array(item).astype(np.int16)).max(initial=0)) > _NARROW for item in stored)


@cache
def sums_saturate() -> bool:
    """Does OpenVINO cut off sums of 8-bit products on this processor?"""
    core = package().Core()
    model = core.read_model(largest_codes().SerializeToString())
    model.reshape([1, 2, 3, 3])
    found = core.compile_model(model, "CPU", FLOAT32)([np.full((1, 2, 3, 3), 255, np.float32)])[0]
    return not np.isclose(found, RIGHT_SUM).all()


def compiled_nodes(path: Path) -> list[dict[str, str]]:
    """What OpenVINO makes of a file for one image: what each node of the compiled model says of itself.

    Raises:
        BackendMissing: OpenVINO is not installed.
        BackendError: it does not take the file.
    """
    session = OpenVinoSession(path, 1)
    nodes = session.compiled(1).get_runtime_model().get_ordered_ops()
    return [{name: value.astype(str) for name, value in node.get_rt_info().items()} for node in nodes]


def package() -> Any:
    try:
        import openvino
    except ImportError:
        raise BackendMissing("OpenVINO is not installed: pip install 'genq-export[openvino]'") from None
    return openvino
