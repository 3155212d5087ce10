"""Everything a plan needs, looked at before the first slow step: every missing thing in one list, nothing written."""

import os
from collections.abc import Sequence
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.models import source as models
from genq_export.targets import target

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
        of_target = target(config.target).problems(config.export)
        found = [*models.problems(config.model), *device_problems(config.device), *of_target, *found]
    if stages is None or "calibrate" in stages:
        found += _calibration_problems(config, output)
    if stages is None or "verify" in stages:
        found += evaluation_problems(config.verify.evaluation)
    if found:
        raise MissingError(list(dict.fromkeys(found)))


def notes(config: BuildConfig) -> list[str]:
    """What a build can do without, said before it starts."""
    return target(config.target).notes()


def _calibration_problems(config: BuildConfig, output: Path) -> list[str]:
    source = config.calibrate.made_before
    if source is None:
        from calibrate.preflight import problems

        return problems(config, output)
    if any((folder / "metadata.jsonl").is_file() for folder in (source / "calibration", source)):
        return []
    return [f"no calibration set in {source} (--calibration takes a build folder, or its calibration/)"]


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
