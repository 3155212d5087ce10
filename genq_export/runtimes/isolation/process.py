"""A backend in a process of its own, under a time limit: what crashes or hangs there is reported here as one line."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from genq_export.core.errors import BackendDied, BackendError, BackendMissing, UserError
from genq_export.core.platforms import check_isolation
from genq_export.runtimes.base import Batch, Codes, Outputs
from genq_export.runtimes.isolation.environment import PYTHON, child_environment
from genq_export.runtimes.isolation.protocol import Channel, ChannelTimeout, EndOfStream, Message

WORKER = (*PYTHON, "-m", "genq_export.runtimes.isolation.worker")


class Worker:
    """A worker process and the channel to it.

    label: what messages call it. limit: seconds that one answer may take. command: of the process; another than
    `WORKER` is given by tests only.
    """

    def __init__(self, label: str, limit: float, command: Sequence[str] = WORKER) -> None:
        try:
            check_isolation(f"{label} in a process of its own")
        except UserError as error:
            raise BackendError(str(error)) from None
        self.label, self.limit = label, limit
        self._ended: str | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=child_environment(),
            bufsize=0,
        )
        # Unbuffered pipes are bare files.
        self._channel = Channel(cast(FileIO, self._process.stdout), cast(FileIO, self._process.stdin))

    def ask(self, message: Message) -> Message:
        """Send and wait.

        Raises:
            BackendMissing: the runtime is not here.
            BackendDied: the process crashed or took longer than its limit. It says so again whenever it is asked.
            BackendError: it said no.
        """
        if self._ended is not None:
            raise BackendDied(self._ended)
        deadline = time.monotonic() + self.limit
        try:
            self._channel.send(message, deadline)
            answer = self._channel.receive(deadline)
        except ChannelTimeout:
            raise self._end(f"{self.label} did not answer within {self.limit:g} s and was stopped") from None
        except (EndOfStream, ValueError):
            raise self._end(self._obituary()) from None
        if "missing" in answer.fields:
            raise BackendMissing(answer.fields["missing"])
        if "error" in answer.fields:
            raise BackendError(answer.fields["error"])
        return answer

    def _end(self, reason: str) -> BackendDied:
        self._ended = reason
        self.close()
        return BackendDied(reason)

    def _obituary(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"was stopped by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"{self.label} {how}" + (f": {lines[-1].strip()}" if lines else "")

    def close(self) -> None:
        """End the process; may be called more than once."""
        self._ended = self._ended or f"{self.label} has been closed"
        self._channel.close()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class IsolatedBackend:
    """The `Backend` interface over a worker. Raises BackendError (BackendMissing: not installed) if it cannot load."""

    def __init__(self, kind: str, path: Path, limit: float, threads: int = 0, command: Sequence[str] = WORKER) -> None:
        self.name = kind
        self._worker = Worker(kind, limit, command)
        try:
            self._load = Message({"op": "load", "kind": kind, "path": str(path.resolve()), "threads": threads})
            answer = self._worker.ask(self._load)
        except BackendError:
            self._worker.close()
            raise
        self.title = str(answer.fields["title"])
        self.device = str(answer.fields["device"])

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name."""
        return outputs_in(self._worker.ask(Message({"op": "outputs"}, {"batch": batch})))

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and codes by quantizer name."""
        answer = self._worker.ask(Message({"op": "codes"}, {"batch": batch}))
        names: list[str] = answer.fields["names"]
        return outputs_in(answer), {name: answer.arrays[f"codes {name}"] for name in names}

    def peak_memory_mib(self) -> float:
        """Most memory the session has held so far, MiB: resident memory of its process, or on the GPU."""
        return round(float(self._worker.ask(Message({"op": "peak"})).fields["peak_mib"]), 1)

    def load_ms(self) -> float:
        """Milliseconds that loading the file once more takes, its runtime being there: the median of three."""
        times = [float(self._worker.ask(self._load).fields["load_ms"]) for _ in range(3)]
        return round(sorted(times)[1], 3)

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def outputs_in(answer: Message) -> Outputs:
    """The outputs that a worker's answer holds."""
    return {name: answer.arrays[f"output {name}"].astype(np.float32, copy=False) for name in answer.fields["outputs"]}


def measure(request: dict[str, Any], label: str, limit: float) -> dict[str, Any]:
    """Run one request in a fresh process and hand back the fields of its answer. Raises BackendError."""
    worker = Worker(label, limit)
    try:
        return worker.ask(Message(request)).fields
    finally:
        worker.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
