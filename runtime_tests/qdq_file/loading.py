"""Sessions of a runtime over any ONNX file: any number of inputs, any tensors as outputs. For a worker alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from genq_export.core.errors import BackendError, reason_of
from genq_export.runtimes.onnxruntime import refuse_what_ends_the_process, session_options

Arrays = dict[str, NDArray[Any]]
Level = Literal["off", "basic", "extended", "all"]


@dataclass(frozen=True)
class Manner:
    """A runtime in one way of running a file.

    level: of optimisation; OpenVINO has "off" and "all". exact_sums: ONNX Runtime with the kernels whose 8-bit sums do
    not saturate on processors without VNNI; OpenVINO has no such choice.
    """

    runtime: Literal["onnxruntime", "openvino"]
    level: Level = "all"
    exact_sums: bool = False

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Loaded(Protocol):
    """A loaded file. title: the runtime with its version."""

    title: str

    def run(self, feeds: Arrays, tensors: list[str]) -> list[Any]:
        """The tensors of these names. Raises BackendError."""


def load(manner: Manner, path: Path) -> Loaded:
    """Load a file; raises BackendError where it is not taken, BackendMissing where the runtime is not here."""
    return _OpenVino(manner, path) if manner.runtime == "openvino" else _OnnxRuntime(manner, path)


class _OnnxRuntime:
    def __init__(self, manner: Manner, path: Path) -> None:
        options = session_options(saturating=manner.exact_sums)
        import onnxruntime

        self.title = f"ONNX Runtime {onnxruntime.__version__}"
        if manner.exact_sums:
            self.title += ", exact sums"
        refuse_what_ends_the_process(str(path), "the file", manner.exact_sums)
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = {
            "off": levels.ORT_DISABLE_ALL, "basic": levels.ORT_ENABLE_BASIC,
            "extended": levels.ORT_ENABLE_EXTENDED, "all": levels.ORT_ENABLE_ALL,
        }[manner.level]  # fmt: skip
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no public base class
            raise BackendError(f"{self.title} does not load the file: {reason_of(error)}") from None
        self._types = {part.name: part.type for part in self._session.get_inputs()}

    def run(self, feeds: Arrays, tensors: list[str]) -> list[Any]:
        typed = {name: _as_type(array, self._types[name]) for name, array in feeds.items() if name in self._types}
        try:
            return list(self._session.run(tensors, typed))
        except Exception as error:
            raise BackendError(f"{self.title} fails on the file: {reason_of(error)}") from None


_NUMPY = {"float16": "float16", "double": "float64", "float": "float32"}


def _as_type(array: NDArray[Any], kind: str) -> NDArray[Any]:
    """An array as an input of this type takes it: `tensor(float16)`."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return array.astype(_NUMPY.get(name, name))


class _OpenVino:
    """Compiled for the very shapes that it is given: with free ones it takes slower kernels, and wrong ones."""

    def __init__(self, manner: Manner, path: Path) -> None:
        from genq_export.runtimes.openvino import FLOAT32, NOT_TRANSFORMED, package

        openvino = package()
        self.title = f"OpenVINO {openvino.__version__.split('-')[0]}"
        self._settings = FLOAT32 | (NOT_TRANSFORMED if manner.level == "off" else {})
        self._core = openvino.Core()
        self._compiled: Any = None
        self._names = [part.name for part in onnx.load(path, load_external_data=False).graph.output]
        try:
            self._model = self._core.read_model(str(path))
        except Exception as error:  # openvino raises RuntimeError and others
            raise BackendError(f"{self.title} does not load the file: {_reason(error)}") from None

    def run(self, feeds: Arrays, tensors: list[str]) -> list[Any]:
        try:
            if self._compiled is None:
                self._model.reshape({part: list(feeds[part.get_any_name()].shape) for part in self._model.inputs})
                self._compiled = self._core.compile_model(self._model, "CPU", self._settings)
            typed = {
                part.get_any_name(): feeds[part.get_any_name()].astype(part.get_element_type().to_dtype())
                for part in self._model.inputs
            }
            found = self._compiled(typed)
            return [np.array(found[self._names.index(name)]) for name in tensors]
        except Exception as error:
            raise BackendError(f"{self.title} fails on the file: {_reason(error)}") from None


_FRAMES = ("Exception from", "Check '", "FrontEnd API failed", "Model wasn't", "Summary")


def _reason(error: Exception) -> str:
    """What OpenVINO says, behind the places in its source that it begins with."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.startswith(_FRAMES)), reason_of(error))
