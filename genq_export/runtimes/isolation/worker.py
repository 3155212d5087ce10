"""The process in which one runtime lives: `python -P -m genq_export.runtimes.isolation.worker`, driven over its
standard streams.

A runtime that crashes or hangs takes this process with it and nothing else.
"""

import time
from pathlib import Path
from typing import Any

from genq_export.core.errors import BackendError
from genq_export.runtimes import runtime
from genq_export.runtimes.base import Session
from genq_export.runtimes.isolation.protocol import Message
from genq_export.runtimes.isolation.serving import serve_standard_streams
from genq_export.runtimes.timing import time_sessions


class Server:
    """Answers requests about one session at a time."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def answer(self, request: Message) -> Message:
        """What one request asks for. Raises BackendError."""
        fields = dict(request.fields)
        operation = fields.pop("op")
        if operation == "load":
            if self._session is not None:
                self._session.close()
            start = time.perf_counter()
            self._session = open_session(fields["kind"], Path(fields["path"]), fields["threads"])
            milliseconds = (time.perf_counter() - start) * 1000
            return Message({"title": self._session.title, "device": self._session.device, "load_ms": milliseconds})
        if operation == "time":
            return Message({"rows": time_sessions(open_session, **fields)})
        if self._session is None:
            raise BackendError("no network loaded")
        if operation == "peak":
            return Message({"peak_mib": self._session.peak_memory_mib()})
        if operation == "codes":
            outputs, codes = self._session.codes(request.arrays["batch"])
            told = {"outputs": list(outputs), "names": list(codes)}
            return Message(told, _named("output", outputs) | _named("codes", codes))
        outputs = self._session.outputs(request.arrays["batch"])
        return Message({"outputs": list(outputs)}, _named("output", outputs))


def _named(kind: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{kind} {name}": array for name, array in arrays.items()}


def open_session(name: str, path: Path, threads: int) -> Session:
    """A session of the runtime of this name. Raises BackendError; UserError for a name that is not known."""
    return runtime(name).open(path, threads)


def main() -> None:
    """Serve until the process that started this one closes its streams."""
    serve_standard_streams(Server().answer)


if __name__ == "__main__":
    main()
