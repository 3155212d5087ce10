"""Calibration images as builds make them, kept in a folder of the benchmark's."""

from pathlib import Path

from calibrate import run as calibrate_stage
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images
from genq_export.models.loaded import LoadedModel


def made_images(config: BuildConfig, model: LoadedModel, folder: Path) -> list[Path]:
    """Files of the kept images of the set in `folder`, which is made or finished where it is not complete."""
    calibrate_stage.run(Workspace.open(folder), config, model, Progress())
    return list(kept_images(folder / "calibration"))


def pool_of(generator: str, count: int, model: LoadedModel, out: Path) -> list[Path]:
    """So many images of a generator for a network, in a folder of their own below `out`."""
    config = BuildConfig.for_model(model.name, bits=8, images=count, generator=generator)
    return made_images(config, model, out / "pools" / f"{model.name}-{generator}-{count}")
