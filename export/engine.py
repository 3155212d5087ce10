"""QDQ ONNX -> engine, over either module that can build one: `tensorrt` (10, 11) or `tensorrt_rtx` (no GPU needed).

Networks are strongly typed: precision is what the ONNX file says, no flag chooses it. TensorRT-RTX builds ahead of time
for named compute capabilities on a machine without a GPU; full TensorRT builds for the GPU it runs on.
"""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.audit.engine_plan import audit_inspector, audit_plan
from genq_export.config.export import ExportConfig
from genq_export.core.errors import UserError
from genq_export.core.workspace import sha256, write_atomic
from genq_export.runtimes.engine_file import ENGINE_FILE, versions_that_run

TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class Engine:
    """A built engine: its bytes, what `engine.json` says of it, and measured timings of kernels for the next build."""

    plan: bytes
    facts: dict[str, Any]
    timing_cache: bytes


def build_engine(
    onnx_file: Path,
    input_size: tuple[int, int, int],
    module_name: str,
    settings: ExportConfig | None = None,
    timing_cache: bytes = b"",
) -> Engine:
    """Build with the module given by name; the batch is free within `settings.engine_batches`.

    timing_cache: of an earlier build with the same module, or empty. Raises UserError with the parser's or builder's
    own words where the file is refused.
    """
    settings = settings or ExportConfig()
    trt = importlib.import_module(module_name)
    messages: list[str] = []
    logger = _collecting_logger(trt, messages)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_file)):
        raise UserError(f"TensorRT refuses {onnx_file}: {parser.get_error(0).desc().splitlines()[0]}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("input", *((batch, *input_size) for batch in settings.engine_batches))
    config.add_optimization_profile(profile)
    _set_compatibility(trt, config, module_name, settings)
    cache = config.create_timing_cache(timing_cache)
    config.set_timing_cache(cache, ignore_mismatch=False)
    gpu = _choose_gpus(trt, config, module_name, settings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = messages[-1] if messages else "no reason given"
        raise UserError(f"TensorRT cannot build an engine from {onnx_file}: {reason}")
    content = bytes(plan)
    facts = {
        "builder": module_name,
        "version": trt.__version__,
        **gpu,
        "runs_on": versions_that_run(module_name, trt.__version__, settings.version_compatible),
        "version_compatible": settings.version_compatible,
        "hardware_compatible": settings.hardware_compatible,
        "onnx_sha256": sha256(onnx_file),
        "engine_sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "input": list(input_size),
        "batches": dict(zip(("min", "opt", "max"), settings.engine_batches, strict=True)),
        "layers": [layer.row() for layer in audit_plan(content) or audit_inspector(trt, logger, content)],
    }
    kept = config.get_timing_cache()
    return Engine(content, facts, b"" if kept is None else bytes(kept.serialize()))


def save_engine(engine: Engine, folder: Path) -> list[str]:
    """Write `model.engine` and the timing cache; facts go to `engine.json` by the stage. Returns the engine's name."""
    write_atomic(folder / ENGINE_FILE, engine.plan)
    if engine.timing_cache:
        write_atomic(folder / TIMING_CACHE, engine.timing_cache)
    return [ENGINE_FILE]


def _set_compatibility(trt: Any, config: Any, module_name: str, settings: ExportConfig) -> None:
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware_compatible and module_name == "tensorrt":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS


def _choose_gpus(trt: Any, config: Any, module_name: str, settings: ExportConfig) -> dict[str, Any]:
    """Compute capabilities to build for, and the name of the GPU where it is built for one."""
    if module_name != "tensorrt_rtx":
        return _this_gpu()
    known = sorted(name for name in dir(trt.ComputeCapability) if name.startswith("SM"))
    unknown = [name for name in settings.compute_capabilities if name not in known]
    if unknown:
        raise UserError(f"TensorRT-RTX {trt.__version__} cannot build for {unknown[0]}; it knows {', '.join(known)}")
    config.num_compute_capabilities = len(settings.compute_capabilities)
    for number, name in enumerate(settings.compute_capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), number)
    return {"compute_capabilities": list(settings.compute_capabilities), "gpu": None}


def _this_gpu() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        raise UserError("TensorRT builds on the GPU it will run on, and this machine has none: install tensorrt-rtx")
    major, minor = torch.cuda.get_device_capability()
    return {"compute_capabilities": [f"SM{major}{minor}"], "gpu": torch.cuda.get_device_name()}


def _collecting_logger(trt: Any, messages: list[str]) -> Any:
    class Collecting(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                messages.append(message.splitlines()[0])

    return Collecting()
