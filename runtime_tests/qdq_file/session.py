"""A copy of a file in a worker process: fed by name, asked for tensors by name."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from genq_export.runtimes.isolation.environment import PYTHON
from genq_export.runtimes.isolation.process import Worker
from genq_export.runtimes.isolation.protocol import Message
from runtime_tests.qdq_file.loading import Arrays, Manner

WORKER = (*PYTHON, "-m", "runtime_tests.qdq_file.worker")


class Opened:
    """A model in a runtime. Raises BackendError (BackendMissing: not installed) where it is not taken.

    Args:
        model: self-contained; what the worker reads is a copy in a folder of ours.
        manner: runtime, and how it runs.
        limit: seconds that one answer may take.
    """

    def __init__(self, model: onnx.ModelProto, manner: Manner, limit: float) -> None:
        self.manner = manner
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "copy.onnx"
        self._path.write_bytes(model.SerializeToString())
        self._worker = Worker(manner.runtime, limit, WORKER)
        try:
            loaded = self._ask({"op": "load", "manner": manner.fields(), "path": str(self._path)})
        except BaseException:
            self.close()
            raise
        self.title = str(loaded.fields["title"])

    def run(self, feeds: Arrays, tensors: Sequence[str]) -> Arrays:
        """Tensors by name. Raises BackendError."""
        asked = Message({"op": "run", "tensors": list(tensors)}, feeds)
        found = self._worker.ask(asked).arrays
        return {name: np.asarray(array) for name, array in found.items()}

    def layers(self) -> list[dict[str, Any]]:
        """Rows of the audit: which layers run in integers. Raises BackendError."""
        asked = {"op": "layers", "runtime": self.manner.runtime, "path": str(self._path)}
        rows: list[dict[str, Any]] = self._ask(asked).fields["layers"]
        return rows

    def kernels(self) -> dict[str, str]:
        """The operator that gives each tensor in ONNX Runtime's plan. Raises BackendError."""
        found: dict[str, str] = self._ask({"op": "kernels", "path": str(self._path)}).fields["kernels"]
        return found

    def saturates(self) -> bool:
        """Does the runtime cut off sums of 8-bit products on this processor? Raises BackendError."""
        return bool(self._ask({"op": "saturates", "runtime": self.manner.runtime}).fields["saturates"])

    def _ask(self, fields: dict[str, Any]) -> Message:
        return self._worker.ask(Message(fields))

    def close(self) -> None:
        """End the process and remove its copy."""
        self._worker.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def differing(first: NDArray[Any], second: NDArray[Any]) -> int:
    """How many codes differ; all of them where shapes do."""
    return int((first != second).sum()) if first.shape == second.shape else max(first.size, second.size)
