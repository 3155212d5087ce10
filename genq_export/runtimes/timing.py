"""How sessions are timed: call by call in turn, in one process that does nothing else.

Taking turns exposes every session to the same clock, cache and neighbours. What the times mean is said where they are
reported (`runtime_tests.verify.latency`). Written by hand: benchmarking libraries time one function after another.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendMissing

_WARM_UP_SECONDS = 1.0
_STABLE = 0.03
_WINDOW = 10
_CLOCKS = "clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu"

Call = Callable[[], Any]
Stopwatch = Callable[[Call], float]
"""Makes a call, waits for its result and returns milliseconds."""


class Timed(Protocol):
    """What timing needs of a session."""

    def prepared(self, batch: NDArray[np.float32]) -> tuple[Call, bool | None]:
        """One call on these images, and whether it replays a CUDA graph (None: not on a GPU)."""

    def stopwatch(self) -> Stopwatch:
        """What such calls are timed with."""

    def close(self) -> None:
        """Free what the runtime holds."""


OpenSession = Callable[[str, Path, int], Timed]
"""Opens a session: name of the runtime, file, threads."""


def wall_clock(clock: Callable[[], int] = time.perf_counter_ns) -> Stopwatch:
    """A stopwatch that makes a call and returns its milliseconds; clock: nanoseconds."""

    def measure(call: Call) -> float:
        start = clock()
        call()
        return (clock() - start) / 1e6

    return measure


def event_stopwatch(begin: Any, end: Any) -> Stopwatch:
    """Milliseconds on the GPU between two CUDA events; the call lies between them on the current stream."""

    def measure(call: Call) -> float:
        begin.record()
        call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return measure


def time_in_turns(calls: Sequence[Call], runs: int, measure: Stopwatch) -> NDArray[np.float64]:
    """Milliseconds [runs, len(calls)]: each round makes every call once, starting with another one each time."""
    times = np.zeros((runs, len(calls)))
    for run in range(runs):
        for offset in range(len(calls)):
            number = (run + offset) % len(calls)
            times[run, number] = measure(calls[number])
    return times


def warm_up(call: Call, measure: Stopwatch, seconds: float = _WARM_UP_SECONDS) -> int:
    """Call until the median of ten calls is within 3 % of that of the ten before, or the time is up; calls made."""
    spent, previous, made = 0.0, 0.0, 0
    while True:
        window = [measure(call) for _ in range(_WINDOW)]
        made += _WINDOW
        spent += sum(window) / 1000
        median = float(np.median(window))
        if abs(median - previous) <= _STABLE * median or spent > seconds:
            return made
        previous = median


def time_sessions(
    open_session: OpenSession,
    sessions: list[dict[str, Any]],
    shape: list[int],
    batches: list[int],
    threads: list[int],
    runs: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Time sessions at every thread count and batch size; the first pair gets all `runs`.

    Args:
        open_session: opens one; a runtime that is not on this machine (BackendMissing) is left out.
        sessions: `{runtime, variant, path}`; all of one request are timed with the stopwatch of the first.
        shape: of one image.
        batches: sizes, the main one first.
        threads: counts, the main one first.
        runs: timed calls of each session at the main setting.
        seconds: bounds the timed part of each further setting, which then makes fewer runs (at least 10).

    Returns:
        One dict a session and setting: the fields of `runtime_tests.verify.results.LatencyRow`.
    """
    rows = []
    for thread_count in threads:
        loaded = _open(open_session, sessions, thread_count)
        for batch in batches:
            images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
            first = (thread_count, batch) == (threads[0], batches[0])
            timed = _time_setting([session for _, session in loaded], images, runs, None if first else seconds)
            rows += [
                {**_described(description), "batch": batch, "threads": thread_count, "cuda_graph": graph}
                | _figures(times, batch)
                for (description, _), (times, graph) in zip(loaded, timed, strict=True)
            ]
        for _, session in loaded:
            session.close()
    return rows


def _open(
    open_session: OpenSession, sessions: list[dict[str, Any]], threads: int
) -> list[tuple[dict[str, Any], Timed]]:
    loaded = []
    for session in sessions:
        try:
            loaded.append((session, open_session(session["runtime"], Path(session["path"]), threads)))
        except BackendMissing:
            continue
    return loaded


def _time_setting(
    sessions: list[Timed], images: NDArray[np.float32], runs: int, seconds: float | None
) -> list[tuple[NDArray[np.float64], bool | None]]:
    """Milliseconds of every session, and whether its calls replay a CUDA graph; seconds: None makes all `runs`."""
    if not sessions:
        return []
    measure = sessions[0].stopwatch()
    calls, graphs = zip(*(session.prepared(images) for session in sessions), strict=True)
    for call in calls:
        warm_up(call, measure)
    count = runs if seconds is None else _affordable(calls, runs, seconds)
    return list(zip(time_in_turns(calls, count, measure).T, graphs, strict=True))


def _affordable(calls: Sequence[Call], runs: int, seconds: float) -> int:
    start = time.perf_counter()
    for call in calls:
        call()
    return int(np.clip(seconds / max(time.perf_counter() - start, 1e-6), 10, runs))


def _described(session: dict[str, Any]) -> dict[str, Any]:
    return {"runtime": session["runtime"], "variant": session["variant"]}


def _figures(times: NDArray[np.float64], batch: int) -> dict[str, Any]:
    """Percentiles, and the median of either half of the calls and of every other one."""
    median, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    half = len(times) // 2
    parts = (times[:half], times[half:], times[::2], times[1::2])
    return {
        "runs": len(times),
        "median_ms": round(median, 4),
        "p90_ms": round(p90, 4),
        "p99_ms": round(p99, 4),
        "images_per_second": round(1000 * batch / median, 1),
        "parts_ms": [round(float(np.median(part)), 4) for part in parts if len(part)],
    }


def read_clocks() -> str | None:
    """Clocks and temperature of the first GPU in words, read and never set; None where they cannot be read."""
    command = ["nvidia-smi", f"--query-gpu={_CLOCKS}", "--format=csv,noheader,nounits", "--id=0"]
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
