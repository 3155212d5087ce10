"""The runtimes of one verification: which are wanted, which open, and which of them stands for the deployed file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendDied, BackendError, BackendMissing, UserError
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes import runtimes
from genq_export.runtimes.base import Backend
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.torch_modules import float_backend, oracle_backend, reference_backend
from genq_export.targets import target
from runtime_tests.verify.machine import threads_each
from runtime_tests.verify.results import BackendRun, BackendStatus

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
        self.lost[name] = BackendRun(
            name=name, title=backend.title, device=backend.device, status="failed", detail=str(error)
        )

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
    pool = RuntimePool(float_backend(model.module))
    try:
        for name, opener in _openers(workspace, config, open_runtime).items():
            try:
                pool.opened[name] = opener()
            except (BackendError, UserError, ImportError, OSError) as error:
                pool.lost[name] = _not_opened(name, error)
        yield pool
    finally:
        pool.close()


def deployed(config: BuildConfig, pool: RuntimePool) -> str:
    """Name of the runtime that stands for the deployed file."""
    return target(config.target).deployed(pool.opened)


def is_wanted(name: str, config: BuildConfig) -> bool:
    """Does a verification of this build use the runtime?"""
    asked = config.verify.backends
    return asked is None or name in {*asked, *target(config.target).needed_for_verdict}


def _readers(config: BuildConfig) -> list[str]:
    """Names of the runtimes that take the target's file; those for experiments only where they are asked for."""
    asked, rule = config.verify.backends or (), target(config.target).rule
    return [
        item.name for item in runtimes() if item.reads(rule) and (item.purpose != "experiment" or item.name in asked)
    ]


def _openers(workspace: Workspace, config: BuildConfig, open_runtime: OpenRuntime) -> dict[str, Callable[[], Backend]]:
    """How to open each wanted runtime, by name, in the order of the results."""
    file, folder = workspace.path("model.onnx"), workspace.folder

    def runtime(name: str) -> Backend:
        if not file.is_file():
            raise BackendMissing("the build has no model.onnx")
        return open_runtime(name, file, config.verify.time_limit, threads_each(_AT_ONCE))

    openers: dict[str, Callable[[], Backend]] = {
        "reference": lambda: reference_backend(folder),
        "oracle": lambda: oracle_backend(folder, config.device),
        **{name: lambda name=name: runtime(name) for name in _readers(config)},  # type: ignore[misc]
    }
    return {name: opener for name, opener in openers.items() if is_wanted(name, config)}


def _not_opened(name: str, error: Exception) -> BackendRun:
    return BackendRun(name=name, title=name, device="", status=_status(error), detail=str(error))


def _status(error: Exception) -> BackendStatus:
    if isinstance(error, BackendMissing):
        return "missing"
    said_no = isinstance(error, BackendError) and not isinstance(error, BackendDied)
    return "refused" if said_no else "failed"
