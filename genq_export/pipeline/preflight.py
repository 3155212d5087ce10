"""Everything a plan needs, looked at before the first slow step: every missing thing in one list, nothing written."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.models import source as models
from genq_export.runtimes.tensorrt_packages import engine_builder
from genq_export.targets.rule import rule_for

_TYPICAL_BUILD_BYTES = 100 * 2**20


class MissingError(UserError):
    """What keeps a build from starting, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def preflight(config: BuildConfig, output: Path, stages: Sequence[str] | None = None) -> None:
    """Raise MissingError with every reason why these stages (None: all) cannot work on this machine."""
    models.check_name(config.model)
    found = _disk_problems(output)
    if stages is None or set(stages) != {"report"}:
        found = [*models.problems(config.model), *device_problems(config.device), *_target_problems(config), *found]
    if stages is None or "calibrate" in stages:
        found += _calibration_problems(config, output)
    if stages is None or "verify" in stages:
        found += evaluation_problems(config.verify.evaluation)
    if found:
        raise MissingError(list(dict.fromkeys(found)))


def notes(config: BuildConfig) -> list[str]:
    """What a build can do without, said before it starts."""
    if config.target != "tensorrt" or engine_builder() is not None:
        return []
    return [
        "TensorRT is not installed here: the build ends with the ONNX file and the trtexec command for it;"
        " pip install 'genq-export[tensorrt-rtx]' builds an engine on any machine"
    ]


def _calibration_problems(config: BuildConfig, output: Path) -> list[str]:
    source = config.calibrate.calibration_set
    if source is None:
        from calibrate.preflight import problems

        return problems(config, output)
    if any((folder / "metadata.jsonl").is_file() for folder in (source / "calibration", source)):
        return []
    return [f"no calibration set in {source} (--calibration takes a build folder, or its calibration/)"]


def _target_problems(config: BuildConfig) -> list[str]:
    """What the target cannot hold, told before anything is quantized. (Bits beyond 2 to 8 no config holds.)"""
    settings, target = config.export, config.target
    found = []
    if settings.half_remainder and not rule_for(target).half_remainder:
        found.append(f"export.half_remainder: --target {target} computes its remainder in float32 only")
    if target == "tensorrt" and engine_builder() == "tensorrt_rtx":
        # TensorRT-RTX 1.7 warns and ignores the one, and cannot build with the other.
        if settings.hardware_compatible:
            found.append(
                "export.hardware_compatible: TensorRT-RTX has no such engines: leave it out and name every GPU in"
                " export.compute_capabilities, or install tensorrt instead of tensorrt-rtx"
            )
        if settings.version_compatible:
            found.append(
                "export.version_compatible: an engine of TensorRT-RTX runs on the version that built it alone: leave it"
                " out and build again after an update, or install tensorrt instead of tensorrt-rtx"
            )
        known = [name for name in dir(importlib.import_module("tensorrt_rtx").ComputeCapability) if name[:2] == "SM"]
        found += [
            f"export.compute_capabilities: --target {target}: TensorRT-RTX builds no engine for {name}, only for"
            f" {', '.join(sorted(known))}"
            for name in settings.compute_capabilities
            if name not in known
        ]
    return found


def device_problems(device: str) -> list[str]:
    """Why a device cannot be used here; empty where it can."""
    if device == "cpu":
        return []
    if not device.startswith("cuda"):
        return [f"device '{device}' is not known: --device takes cpu, cuda or cuda:N"]
    import torch

    if torch.cuda.is_available():
        return []
    return [f"device '{device}' is not available: this torch ({torch.__version__}) sees no GPU; use --device cpu"]


def evaluation_problems(source: Path | None) -> list[str]:
    """Why the path of evaluation images is none; empty where it may be."""
    if source is None or source.is_dir() or (source.suffix == ".tar" and source.is_file()):
        return []
    if source.is_file():
        return [f"--eval {source} is a file: give a folder of images, a Hugging Face data set or .tar shards"]
    return [f"evaluation folder {source} does not exist (--eval takes a folder with one subfolder a class)"]


def _disk_problems(output: Path) -> list[str]:
    place = next(parent for parent in (output.resolve(), *output.resolve().parents) if parent.exists())
    if not os.access(place, os.W_OK):
        return [f"output folder {output} cannot be written: no permission in {place}"]
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    if free < _TYPICAL_BUILD_BYTES:
        return [f"only {free // 2**20} MiB free at {place}, a build needs about {_TYPICAL_BUILD_BYTES // 2**20} MiB"]
    return []
