"""The deployed file against the float network: how fast, how much memory, how many bytes."""

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes import runtime, runtimes
from genq_export.runtimes.base import Runtime
from genq_export.runtimes.isolation.process import IsolatedBackend, measure
from genq_export.runtimes.timing import read_clocks
from genq_export.targets import target
from genq_export.targets.base import Target
from runtime_tests.verify import float_baseline, latency
from runtime_tests.verify.machine import usable_cores
from runtime_tests.verify.results import Latency, LatencyRow, Size


@dataclass(frozen=True)
class Speed:
    """Latency and size; None: not measured, and `notes` say why."""

    latency: Latency | None = None
    size: Size | None = None
    notes: tuple[str, ...] = ()


MeasureSpeed = Callable[[Workspace, BuildConfig, LoadedModel, Collection[str], Progress], Speed]
"""`measure_speed`, or what tests put in its place."""


def measure_speed(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, opened: Collection[str], progress: Progress
) -> Speed:
    """The deployed file against the float network as ONNX, timed in turns in a process of its own.

    Args:
        workspace: the build folder.
        config: of the build: the target, and the settings of `verify`.
        model: the float network.
        opened: names of the runtimes that could load the deployed file here.
        progress: told before timing starts.
    """
    file = workspace.path("model.onnx")
    if not file.is_file():
        return Speed(notes=("latency and size were not measured: the build has no model.onnx",))
    with tempfile.TemporaryDirectory() as folder:
        float_file = Path(folder) / "float.onnx"
        try:
            float_baseline.export_float(model, float_file)
        except BackendError as error:
            parameters = sum(tensor.numel() for tensor in model.module.state_dict().values())
            return Speed(None, _size(4 * parameters, file), (f"latency was not measured: {error}",))
        size, made_for = _size(float_file.stat().st_size, file), target(config.target)
        if made_for.deployed(opened) != made_for.default_runtime:
            return Speed(None, size, (_not_on_target(made_for),))
        progress.say("  timing float and deployed in turns")
        try:
            return Speed(_timed(float_file, file, runtime(made_for.default_runtime), made_for, config, model), size)
        except BackendError as error:
            return Speed(None, size, (f"latency was not measured: {error}",))


def _size(float_bytes: int, file: Path) -> Size:
    return Size(float_bytes=float_bytes, deployed_bytes=file.stat().st_size)


def _not_on_target(made_for: Target) -> str:
    assert made_for.stand_in is not None
    title, on_gpu = made_for.title, runtime(made_for.default_runtime).on_gpu
    missing = f"this machine has no GPU that {title} runs on" if on_gpu else f"{title} does not run on this machine"
    return (
        f"latency was not measured on the target: {missing}; {runtime(made_for.stand_in).product} computes the {title}"
        " file in float and only checks its numbers"
    )


def _timed(
    float_file: Path, file: Path, deployed: Runtime, made_for: Target, config: BuildConfig, model: LoadedModel
) -> Latency:
    """By the target's own runtime, and by others that users may run the file on, on the same kind of device."""
    if deployed.on_gpu:
        float_file = float_file.with_name("half.onnx")
        float_baseline.export_float(model, float_file, half=True)
    before = read_clocks() if deployed.on_gpu else None
    rows = _rows(_sessions(float_file, file, deployed, made_for), _thread_counts(config, deployed), config, model)
    result = latency.summarise(rows, deployed.name)
    float_memory, float_load = _memory_and_load(result.float_runtime, float_file, model)
    deployed_memory, deployed_load = _memory_and_load(deployed.name, file, model)
    changes: dict[str, Any] = {
        "float_memory_mib": float_memory,
        "deployed_memory_mib": deployed_memory,
        "float_load_ms": float_load,
        "deployed_load_ms": deployed_load,
    }
    if deployed.on_gpu:
        after = read_clocks()
        changes["clocks"] = f"before: {before or 'not readable'}; after: {after or 'not readable'}; none was set"
    return result.model_copy(update=changes)


def _sessions(float_file: Path, file: Path, deployed: Runtime, made_for: Target) -> list[dict[str, str]]:
    others = [
        other
        for other in runtimes()
        if other.name != deployed.name
        and other.purpose == "deployment"
        and other.on_gpu == deployed.on_gpu
        and other.reads(made_for.rule)
    ]
    sessions = [
        _session(deployed, "float", float_file),
        _session(deployed, "deployed", file),
        _session(deployed, "deployed again", file),
    ]
    for other in others:
        sessions += [_session(other, "float", float_file), _session(other, "deployed", file)]
    return sessions


def _session(used: Runtime, variant: str, path: Path) -> dict[str, str]:
    return {"runtime": used.name, "variant": variant, "path": str(path.resolve())}


def _thread_counts(config: BuildConfig, deployed: Runtime) -> list[int]:
    """The main one first; on a GPU the host's threads do not matter."""
    main = config.verify.threads
    return [1] if deployed.on_gpu else sorted({main, usable_cores()}, key=lambda count: (count != main, count))


def _rows(
    sessions: list[dict[str, str]], threads: list[int], config: BuildConfig, model: LoadedModel
) -> tuple[LatencyRow, ...]:
    """Time the sessions in a process of its own."""
    settings = config.verify
    request: dict[str, Any] = {
        "op": "time",
        "sessions": sessions,
        "shape": list(model.input_size),
        "batches": list(settings.latency_batches),
        "threads": threads,
        "runs": settings.latency_runs,
        "seconds": 1.0,
    }
    answer = measure(request, "the timing process", max(settings.time_limit, 600.0))
    return tuple(LatencyRow.model_validate(row) for row in answer["rows"])


def _memory_and_load(name: str, file: Path, model: LoadedModel) -> tuple[float | None, float | None]:
    """Peak memory of a fresh process that loads one file and runs one image, MiB: resident, or on the GPU; and then
    the milliseconds that it takes to load the file again."""
    backend = None
    try:
        backend = IsolatedBackend(name, file, 60.0, threads=1)
        backend.outputs(np.zeros((1, *model.input_size), np.float32))
        return backend.peak_memory_mib(), backend.load_ms()
    except BackendError:
        return None, None
    finally:
        if backend is not None:
            backend.close()
