"""The runtimes of one verification: which are wanted, which open, and which of them stands for the deployed file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError, BackendMissing, UserError
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes import backends
from genq_export.runtimes.backends import Backend
from genq_export.runtimes.isolation.process import IsolatedBackend
from runtime_tests.verify.machine import threads_each
from runtime_tests.verify.results import FLOAT, BackendRun

RUNTIMES = ("onnxruntime", "onnxruntime-unfused", "openvino", "tensorrt")
# What the verdict rests on, whatever else is asked for: no build passes on codes that nobody compared.
ALWAYS_WANTED = {
    "onnxruntime": {"reference", "oracle", "onnxruntime"},
    "tensorrt": {"reference", "oracle", "tensorrt", "onnxruntime-unfused"},
}
# These answer for codes on a sample. Over the whole evaluation set they run only if asked for by name: the unfused
# session is for diagnosis, and the oracle's float64 arithmetic is slow and gives the reference's answers anyway.
CODES_ONLY = ("onnxruntime-unfused", "oracle")
# Float, reference and a runtime share the cores.
_AT_ONCE = 3

OpenRuntime = Callable[[str, Path, float, int], Backend]
"""Opens a runtime: its name, the file, seconds that an answer may take, threads."""


@dataclass
class RuntimePool:
    """The runtimes of one run, open; and what became of those that could not be opened."""

    float_backend: Backend
    opened: dict[str, Backend] = field(default_factory=dict)
    lost: dict[str, BackendRun] = field(default_factory=dict)

    def lose(self, name: str, error: BackendError) -> None:
        """Close a runtime that failed and keep why."""
        backend = self.opened.pop(name)
        backend.close()
        self.lost[name] = _lost(name, error, backend.title, backend.device)

    def close(self) -> None:
        """Close every open runtime."""
        for backend in self.opened.values():
            backend.close()


@contextmanager
def open_runtimes(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, open_runtime: OpenRuntime = IsolatedBackend
) -> Iterator[RuntimePool]:
    """Open what is wanted and there, and close it again.

    Args:
        workspace: The build folder.
        config: Names the target, the runtimes asked for and the time limit.
        model: The float network.
        open_runtime: Opens a runtime that reads `model.onnx`.

    Yields:
        The pool; a runtime that cannot be opened is in `lost` with the reason.
    """
    pool = RuntimePool(backends.TorchBackend(FLOAT, "float32 network", model.module))
    try:
        for name, opener in _openers(workspace, config, open_runtime).items():
            try:
                pool.opened[name] = opener()
            except (BackendError, UserError, ImportError, OSError) as error:
                pool.lost[name] = _lost(name, error)
        yield pool
    finally:
        pool.close()


def deployed(config: BuildConfig, pool: RuntimePool) -> str:
    """Name of the runtime that stands for the deployed file.

    Where TensorRT cannot run, ONNX Runtime computes its file as it is written: the default session would rewrite it for
    the CPU (rounding the float bias, for one) and answer for another file.
    """
    if config.target == "onnxruntime":
        return "onnxruntime"
    return "tensorrt" if "tensorrt" in pool.opened else "onnxruntime-unfused"


def is_wanted(name: str, config: BuildConfig) -> bool:
    """Does a verification of this build use the runtime?"""
    # TensorRT reads no file made for ONNX Runtime: it takes neither UINT8 nor zero-points.
    if name == "tensorrt" and config.target != "tensorrt":
        return False
    asked = config.verify.backends
    return asked is None or name in {*asked, *ALWAYS_WANTED[config.target]}


def _openers(workspace: Workspace, config: BuildConfig, open_runtime: OpenRuntime) -> dict[str, Callable[[], Backend]]:
    """How to open each wanted runtime, by name, in the order of the results."""
    file, folder = workspace.path("model.onnx"), workspace.folder

    def runtime(name: str) -> Backend:
        if not file.is_file():
            raise BackendMissing("the build has no model.onnx")
        return open_runtime(name, file, config.verify.time_limit, threads_each(_AT_ONCE))

    openers: dict[str, Callable[[], Backend]] = {
        "reference": lambda: backends.reference_backend(folder),
        "oracle": lambda: backends.oracle_backend(folder, config.device),
        **{name: lambda name=name: runtime(name) for name in RUNTIMES},  # type: ignore[misc]
    }
    return {name: opener for name, opener in openers.items() if is_wanted(name, config)}


def _lost(name: str, error: Exception, title: str | None = None, device: str = "") -> BackendRun:
    status = "missing" if isinstance(error, BackendMissing) else "failed"
    return BackendRun(name=name, title=title or name, device=device, status=status, detail=str(error))
