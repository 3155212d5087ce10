"""A backend in a process of its own, under a time limit: what crashes or hangs there is reported here as one line."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.core.errors import BackendError, BackendMissing
from genq_export.runtimes.backends import Batch, Codes
from genq_export.runtimes.isolation.protocol import Channel, ChannelTimeout, EndOfStream, Message

_WORKER = [sys.executable, "-m", "genq_export.runtimes.isolation.worker"]


class Worker:
    """A worker process and the channel to it. `command` is given by tests only."""

    def __init__(self, label: str, limit: float, command: list[str] | None = None, threads: int | None = None) -> None:
        self.label, self.limit = label, limit
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        environment = {**os.environ, "PYTHONPATH": _python_path()}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        self._process = subprocess.Popen(
            command or _WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())

    def ask(self, message: Message) -> Message:
        """Send and wait; raises BackendError where the process crashed, took longer than its limit, or said no."""
        deadline = time.monotonic() + self.limit
        try:
            self._channel.send(message, deadline)
            answer = self._channel.receive(deadline)
        except ChannelTimeout:
            self.close()
            raise BackendError(f"{self.label} did not answer within {self.limit:g} s and was stopped") from None
        except (EndOfStream, ValueError):
            raise BackendError(self._obituary()) from None
        if "missing" in answer.fields:
            raise BackendMissing(answer.fields["missing"])
        if "error" in answer.fields:
            raise BackendError(answer.fields["error"])
        return answer

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
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except OSError:
                    continue
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class IsolatedBackend:
    """The `Backend` interface over a worker. Raises BackendError (BackendMissing: not installed) if it cannot load."""

    def __init__(self, kind: str, path: Path, limit: float, threads: int = 0, command: list[str] | None = None) -> None:
        self.name = kind
        self._worker = Worker(kind, limit, command)
        try:
            answer = self._worker.ask(
                Message({"op": "load", "kind": kind, "path": str(path.resolve()), "threads": threads})
            )
        except BackendError:
            self._worker.close()
            raise
        self.title = str(answer.fields["title"])
        self.device = str(answer.fields["device"])

    def logits(self, batch: Batch) -> Batch:
        """float32 [B, C, H, W] -> float32 [B, K]."""
        return self._worker.ask(Message({"op": "logits"}, {"batch": batch})).arrays["logits"].astype(np.float32)

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """Logits and codes by quantizer name."""
        answer = self._worker.ask(Message({"op": "codes"}, {"batch": batch}))
        names: list[str] = answer.fields["names"]
        return answer.arrays["logits"], {name: answer.arrays[f"codes {name}"] for name in names}

    def peak_memory_mib(self) -> float:
        """Most resident memory the process has held so far."""
        return round(float(self._worker.ask(Message({"op": "peak"})).fields["peak_mib"]), 1)

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def measure(request: dict[str, Any], label: str, limit: float) -> dict[str, Any]:
    """Run one request in a fresh process and hand back the fields of its answer. Raises BackendError."""
    worker = Worker(label, limit)
    try:
        return worker.ask(Message(request)).fields
    finally:
        worker.close()


def _python_path() -> str:
    # The worker must import this very package, installed or not.
    here = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
