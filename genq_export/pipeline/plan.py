"""What a build would do, without doing it."""

from pathlib import Path
from typing import Any

from calibrate import preflight as calibration
from genq_export.config.build import BuildConfig
from genq_export.core.paths import check_place
from genq_export.pipeline.build import on_device, unfinished
from genq_export.pipeline.preflight import notes
from genq_export.pipeline.stages import STAGES, find_stage


def plan(config: BuildConfig, folder: Path) -> dict[str, Any]:
    """For each stage whether it is fresh, and its work in words: `folder`, `model`, `notes`, `stages`."""
    check_place(folder)
    config = on_device(config, folder)
    left = unfinished(config, folder, STAGES)
    return {
        "folder": str(folder),
        "model": config.model.name,
        "notes": notes(config, STAGES),
        "stages": [
            {"stage": stage, "fresh": stage not in left, "work": find_stage(stage).plan(config)} for stage in STAGES
        ],
    }


def estimate(config: BuildConfig, planned: dict[str, Any]) -> str | None:
    """Say how long the slow part of a plan takes, from a short probe; None where that part is done or nothing is slow.

    Raises:
        UserError: where the probe shows that it cannot be done.
    """
    fresh = {stage["stage"]: stage["fresh"] for stage in planned["stages"]}
    return None if fresh["calibrate"] else calibration.estimate(config)
