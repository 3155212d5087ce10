"""What timing on a GPU needs beside `latency`: CUDA events as the stopwatch, and the clocks, read and never set."""

import subprocess
from collections.abc import Callable
from typing import Any

METHOD = (
    "Each call replays a CUDA graph of the engine (or enqueues it where it could not be captured), between two CUDA"
    " events, without copies to or from the GPU. Float baseline: an FP16 engine of the same graph."
)
_QUERY = "clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu"


class EventStopwatch:
    """Milliseconds on the GPU from one CUDA event to another; the call lies between them on the current stream.

    events: makes a pair of events and says how to wait for the second; given by tests only.
    """

    def __init__(self, events: Callable[[], tuple[Any, Any]] | None = None) -> None:
        self._begin, self._end = (events or _cuda_events)()

    def __call__(self, call: Callable[[], Any]) -> float:
        """Make the call and wait for it."""
        self._begin.record()
        call()
        self._end.record()
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end))


def _cuda_events() -> tuple[Any, Any]:
    import torch

    event: Any = torch.cuda.Event
    return event(enable_timing=True), event(enable_timing=True)


def read_clocks() -> str | None:
    """Clocks and temperature of the first GPU in words; None where they cannot be read."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return describe_clocks(done.stdout)


def describe_clocks(line: str) -> str | None:
    """`1980, 1980, 2619, 41` -> `SM 1980 of 1980 MHz, memory 2619 MHz, 41 °C`; None for anything else."""
    fields = [field.strip() for field in line.strip().split(",")]
    if len(fields) != 4 or not fields[0].isdigit():
        return None
    return f"SM {fields[0]} of {fields[1]} MHz, memory {fields[2]} MHz, {fields[3]} \N{DEGREE SIGN}C"
