"""The deployed file against the float network: how fast, how much memory, how many bytes."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.gpu_timing import read_clocks
from genq_export.runtimes.isolation.process import IsolatedBackend, measure
from runtime_tests.verify import float_baseline, latency
from runtime_tests.verify.machine import usable_cores
from runtime_tests.verify.results import Latency, LatencyRow, Size


def speed_and_size(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, on_gpu: bool, progress: Progress, notes: list[str]
) -> tuple[Latency | None, Size | None]:
    """Latency and size of the deployed file against the float network as ONNX; what is not measured goes to `notes`.

    on_gpu: TensorRT runs here. The float network of a TensorRT file is an FP16 engine of the same graph.
    """
    file = workspace.path("model.onnx")
    if not file.is_file():
        notes.append("latency and size were not measured: the build has no model.onnx")
        return None, None
    deployed_bytes = file.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        float_file = Path(folder) / "float.onnx"
        try:
            float_baseline.export_float(model, float_file)
        except BackendError as error:
            notes.append(f"latency was not measured: {error}")
            parameters = sum(tensor.numel() for tensor in model.module.state_dict().values())
            return None, Size(float_bytes=4 * parameters, deployed_bytes=deployed_bytes)
        size = Size(float_bytes=float_file.stat().st_size, deployed_bytes=deployed_bytes)
        if config.target == "tensorrt" and not on_gpu:
            notes.append(
                "latency was not measured on the target: this machine has no GPU that TensorRT runs on; ONNX Runtime"
                " computes the TensorRT file in float and only checks its numbers"
            )
            return None, size
        progress.say("  timing float and deployed in turns")
        try:
            if config.target == "tensorrt":
                half_file = Path(folder) / "half.onnx"
                float_baseline.export_float(model, half_file, half=True)
                return _timed_on_gpu(half_file, file, config, model), size
            return _timed(float_file, file, config, model), size
        except BackendError as error:
            notes.append(f"latency was not measured: {error}")
            return None, size


def _timed(float_file: Path, file: Path, config: BuildConfig, model: LoadedModel) -> Latency:
    sessions = [
        _session("onnxruntime", "float", float_file),
        _session("onnxruntime", "deployed", file),
        _session("onnxruntime", "deployed again", file),
        _session("openvino", "float", float_file),
        _session("openvino", "deployed", file),
    ]
    settings = config.verify
    threads = sorted({settings.threads, usable_cores()}, key=lambda count: (count != settings.threads, count))
    result = latency.summarise(_rows(sessions, threads, config, model), "onnxruntime")
    memory = [_peak_memory(result.float_runtime, float_file, model), _peak_memory("onnxruntime", file, model)]
    return result.model_copy(update={"float_memory_mib": memory[0], "deployed_memory_mib": memory[1]})


def _timed_on_gpu(half_file: Path, file: Path, config: BuildConfig, model: LoadedModel) -> Latency:
    sessions = [
        _session("tensorrt", "float", half_file),
        _session("tensorrt", "deployed", file),
        _session("tensorrt", "deployed again", file),
    ]
    before = read_clocks()
    result = latency.summarise(_rows(sessions, [1], config, model), "tensorrt")
    after = read_clocks()
    clocks = f"before: {before or 'not readable'}; after: {after or 'not readable'}; none was set"
    memory = [_peak_memory("tensorrt", path, model) for path in (half_file, file)]
    changes = {"clocks": clocks, "float_memory_mib": memory[0], "deployed_memory_mib": memory[1]}
    return result.model_copy(update=changes)


def _session(runtime: str, variant: str, path: Path) -> dict[str, str]:
    return {"runtime": runtime, "variant": variant, "path": str(path.resolve())}


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


def _peak_memory(runtime: str, file: Path, model: LoadedModel) -> float | None:
    """Peak memory of a fresh process that loads one file and runs one image, MiB: resident, or on the GPU."""
    backend = None
    try:
        backend = IsolatedBackend(runtime, file, 60.0, threads=1)
        backend.logits(np.zeros((1, *model.input_size), np.float32))
        return backend.peak_memory_mib()
    except BackendError:
        return None
    finally:
        if backend is not None:
            backend.close()
