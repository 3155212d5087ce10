"""How fast: float and deployed sessions timed call by call in turn, in one process that does nothing else.

Taking turns exposes every session to the same clock, cache and neighbours. The deployed network is loaded twice and
both copies are timed: how far their medians differ is the noise of the measurement, and a difference between float
and deployed that is no larger is reported as none. One difference can be small by chance, so the medians are compared
over all calls, over each half of them and over every other one, and the largest difference counts.
"""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendError, BackendMissing
from genq_export.runtimes import gpu_timing
from genq_export.runtimes.backends import Backend, Batch, create
from genq_export.runtimes.tensorrt import TensorRtBackend
from runtime_tests.verify.results import Latency, LatencyRow

RUNTIME_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}
_WARM_UP_SECONDS = 1.0
_STABLE = 0.03
_WINDOW = 10

Call = Callable[[], Any]
Stopwatch = Callable[[Call], float]


def wall_clock(clock: Callable[[], int] = time.perf_counter_ns) -> Stopwatch:
    """A stopwatch that makes a call and returns its milliseconds; clock: nanoseconds."""

    def measure(call: Call) -> float:
        start = clock()
        call()
        return (clock() - start) / 1e6

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
    sessions: list[dict[str, Any]], shape: list[int], batches: list[int], threads: list[int], runs: int, seconds: float
) -> list[dict[str, Any]]:
    """Time sessions `{runtime, variant, path}` at every thread count and batch size; the first pair gets all `runs`.

    Engines on a GPU are timed by CUDA events around replays of a CUDA graph, everything else by the wall clock.
    `seconds` bounds the timed part of each further setting, which then makes fewer runs (at least 10). A runtime that
    cannot be loaded is left out. Returns the fields of `LatencyRow`, one dict a session and setting.
    """
    rows = []
    for thread_count in threads:
        loaded = []
        for session in sessions:
            try:
                loaded.append((session, create(session["runtime"], Path(session["path"]), thread_count)))
            except BackendMissing:
                continue
        on_gpu = any(isinstance(backend, TensorRtBackend) for _, backend in loaded)
        measure: Stopwatch = gpu_timing.EventStopwatch() if on_gpu else wall_clock()
        for batch in batches:
            rng = np.random.default_rng(0)
            images = rng.standard_normal((batch, *shape), dtype=np.float32)
            prepared = [_call(backend, images) for _, backend in loaded]
            calls = [call for call, _ in prepared]
            for call in calls:
                warm_up(call, measure)
            first = thread_count == threads[0] and batch == batches[0]
            count = runs if first else _affordable(calls, runs, seconds)
            times = time_in_turns(calls, count, measure)
            for (session, _), column, (_, graph) in zip(loaded, times.T, prepared, strict=True):
                rows.append(_row(session, batch, thread_count, column, graph).model_dump())
        for _, backend in loaded:
            backend.close()
    return rows


def _call(backend: Backend, images: Batch) -> tuple[Call, bool | None]:
    """One call on these images, and whether it replays a CUDA graph (None: not on a GPU)."""
    if isinstance(backend, TensorRtBackend):
        return backend.captured(images)
    return functools.partial(backend.logits, images), None


def summarise(rows: tuple[LatencyRow, ...], deployed_runtime: str) -> Latency:
    """The figures of the first setting: the fastest float session against the deployed one.

    Raises BackendError where the float or the deployed session is missing.
    """
    first = [row for row in rows if (row.batch, row.threads) == (rows[0].batch, rows[0].threads)] if rows else []
    floats = [row for row in first if row.variant == "float"]
    deployed = [row for row in first if row.variant == "deployed" and row.runtime == deployed_runtime]
    again = [row for row in first if row.variant == "deployed again" and row.runtime == deployed_runtime]
    if not floats or not deployed:
        raise BackendError("no session of the float or of the deployed network could be timed")
    fastest = min(floats, key=lambda row: row.median_ms)
    noise = difference(deployed[0], again[0]) if again else 0.0
    speedup = fastest.median_ms / deployed[0].median_ms
    return Latency(
        float_ms=fastest.median_ms,
        deployed_ms=deployed[0].median_ms,
        speedup=round(speedup, 3),
        noise=round(noise, 4),
        significant=bool(abs(speedup - 1) > noise),
        threads=first[0].threads,
        batch=first[0].batch,
        float_runtime=fastest.runtime,
        deployed_runtime=deployed_runtime,
        method=method(first[0], sorted({RUNTIME_TITLES.get(row.runtime, row.runtime) for row in floats})),
        rows=rows,
    )


def difference(first: LatencyRow, second: LatencyRow) -> float:
    """Largest relative difference of two sessions' medians: over all calls, and over the same part of the calls."""
    pairs = zip((first.median_ms, *first.parts_ms), (second.median_ms, *second.parts_ms), strict=True)
    return max(abs(one - other) / one for one, other in pairs)


def method(row: LatencyRow, float_runtimes: list[str]) -> str:
    """One paragraph that lets somebody else repeat the measurement."""
    threads = f"{row.threads} thread{'s' * (row.threads != 1)}, " if row.cuda_graph is None else ""
    baseline = " and ".join(float_runtimes)
    baseline = f"the fastest of {baseline}" if len(float_runtimes) > 1 else baseline
    setup = f"Float baseline: the same network as a float32 ONNX file on {baseline}."
    if row.cuda_graph is not None:
        setup = gpu_timing.METHOD
    return (
        f"Median of {row.runs} calls of each session, batch {row.batch}, {threads}random input, all sessions in one"
        " process taking turns call by call, each warmed up until the median of ten calls moved by less than 3 %."
        f" {setup}"
        " Noise: the deployed file loaded twice, largest difference of the two medians over all calls, over either half"
        " of them and over every other one."
    )


def _affordable(calls: Sequence[Call], runs: int, seconds: float) -> int:
    start = time.perf_counter()
    for call in calls:
        call()
    return int(np.clip(seconds / max(time.perf_counter() - start, 1e-6), 10, runs))


def _row(
    session: dict[str, Any], batch: int, threads: int, times: NDArray[np.float64], graph: bool | None
) -> LatencyRow:
    median, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    half = len(times) // 2
    parts = (times[:half], times[half:], times[::2], times[1::2])
    return LatencyRow(
        runtime=session["runtime"],
        variant=session["variant"],
        batch=batch,
        threads=threads,
        runs=len(times),
        median_ms=round(median, 4),
        p90_ms=round(p90, 4),
        p99_ms=round(p99, 4),
        images_per_second=round(1000 * batch / median, 1),
        parts_ms=tuple(round(float(np.median(part)), 4) for part in parts if len(part)),
        cuda_graph=graph,
    )
