"""What a build would do, without doing it."""

from pathlib import Path
from typing import Any

from genq_export.config.build import BuildConfig
from genq_export.core.paths import check_place
from genq_export.core.workspace import Workspace
from genq_export.pipeline.build import are_fresh, on_device
from genq_export.pipeline.preflight import notes
from genq_export.pipeline.stages import STAGES, find_stage


def plan(config: BuildConfig, folder: Path) -> dict[str, Any]:
    """For each stage whether it is fresh, and its work in words: `folder`, `model`, `notes`, `stages`."""
    check_place(folder)
    config = on_device(config, folder)
    fresh: dict[str, bool] = {}
    for stage in STAGES:
        fresh[stage] = all(fresh.values()) and folder.is_dir() and are_fresh(Workspace(folder), config, (stage,))
    return {
        "folder": str(folder),
        "model": config.model.name,
        "notes": notes(config, STAGES),
        "stages": [{"stage": stage, "fresh": fresh[stage], "work": find_stage(stage).plan(config)} for stage in STAGES],
    }
