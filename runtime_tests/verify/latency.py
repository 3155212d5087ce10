"""How fast: what the times of sessions that took turns (`genq_export.runtimes.timing`) say.

The deployed network is loaded twice and both copies are timed: how far their medians differ is the noise of the
measurement, and a difference between float and deployed that is no larger is reported as none. One difference can be
small by chance, so the medians are compared over all calls, over each half of them and over every other one, and the
largest difference counts.
"""

from genq_export.core.errors import BackendError
from genq_export.runtimes import runtime_titles
from runtime_tests.verify.results import Latency, LatencyRow

_ON_GPU = (
    "Each call replays a CUDA graph of the engine (or enqueues it where it could not be captured), between two CUDA"
    " events, without copies to or from the GPU. Float baseline: an FP16 engine of the same graph."
)


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
    titles = runtime_titles()
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
        method=method(first[0], sorted({titles.get(row.runtime, row.runtime) for row in floats})),
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
        setup = _ON_GPU
    return (
        f"Median of {row.runs} calls of each session, batch {row.batch}, {threads}random input, all sessions in one"
        " process taking turns call by call, each warmed up until the median of ten calls moved by less than 3 %."
        f" {setup}"
        " Noise: the deployed file loaded twice, largest difference of the two medians over all calls, over either half"
        " of them and over every other one."
    )
