"""Everything a plan needs, looked at before the first slow step: every missing thing in one list, nothing written."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.build import BuildConfig
from genq_export.core.devices import AUTO
from genq_export.core.errors import refuse
from genq_export.core.paths import check_place
from genq_export.models import source as models
from genq_export.pipeline.stages import STAGES, find_stage

if TYPE_CHECKING:
    from torch import nn

    from genq_export.models.loaded import LoadedModel

_TYPICAL_BUILD_BYTES = 100 * 2**20


def preflight(
    config: BuildConfig,
    output: Path,
    stages: Sequence[str] = STAGES,
    load: Callable[[], "LoadedModel"] | None = None,
    module: "nn.Module | None" = None,
) -> None:
    """Raise MissingError with every reason why these stages cannot work on this machine.

    Args:
        config: the build.
        output: its folder.
        stages: those that shall run, less what is fresh.
        load: loads the network, which is the last thing that may fail: with UserError; None: it is not tried.
        module: what a Python program gave as the network.
    """
    check_place(output)
    models.check_name(config.model)
    found = []
    if set(stages) != {"report"}:  # which is made from the folder alone
        found = [*models.problems(config.model, module), *device_problems(config.device)]
    found += disk_problems(output)
    for name in stages:
        found += find_stage(name).problems(config, output)
    refuse(found)
    if load is not None:
        _check(load(), config, stages)


def _check(model: "LoadedModel", config: BuildConfig, stages: Sequence[str]) -> None:
    """What only the network itself can say, before images are drawn for it: that may take hours."""
    if config.model.dynamic_size:
        from genq_export.quantization.dynamic_size import check_dynamic_size

        check_dynamic_size(model.name, model.module, model.input_size)
    drawn = config.calibrate.calibration_set is None
    if drawn and {"calibrate", "quantize"} <= set(stages):
        from genq_export.quantization.preflight import check_network

        check_network(model, config)


def notes(config: BuildConfig, stages: Sequence[str]) -> list[str]:
    """What a build can do without, said before it starts."""
    return [note for name in stages for note in find_stage(name).notes(config)]


def device_problems(device: str) -> list[str]:
    """Why a device cannot be used here; empty where it can."""
    if device in (AUTO, "cpu"):
        return []
    if not device.startswith("cuda"):
        return [f"device '{device}' is not known: --device takes auto, cpu, cuda or cuda:N"]
    import torch

    if torch.cuda.is_available():
        return []
    return [f"device '{device}' is not available: this torch ({torch.__version__}) sees no GPU; use --device cpu"]


def disk_problems(output: Path) -> list[str]:
    """Why a build cannot be written there; empty where it can."""
    place = next(parent for parent in (output.resolve(), *output.resolve().parents) if parent.exists())
    if not os.access(place, os.W_OK):
        return [f"output folder {output} cannot be written: no permission in {place}"]
    free = shutil.disk_usage(place).free
    if free < _TYPICAL_BUILD_BYTES:
        return [f"only {free // 2**20} MiB free at {place}, a build needs about {_TYPICAL_BUILD_BYTES // 2**20} MiB"]
    return []
