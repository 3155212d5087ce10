"""What the calibrate stage will need and what it will read, asked of its source before anything slow starts."""

from dataclasses import asdict
from pathlib import Path

from calibrate.sources.source import Source, source_for, source_path
from genq_export.config.build import BuildConfig
from genq_export.core.workspace import fingerprint
from genq_export.data.layout import used_digest
from genq_export.data.raw import Reading


def identity(config: BuildConfig) -> str:
    """Return a hex digest of everything outside the config itself that decides the set: the files it names.

    Raises:
        UserError: where one of them cannot be read.
    """
    references = None
    if config.calibrate.real is not None:
        reading = Reading.of(config.verify, "real")
        references = [used_digest(config.calibrate.real, reading), asdict(reading)]
    return fingerprint(source_path(config), source_for(config).identity(config), references)


def problems(config: BuildConfig, folder: Path = Path()) -> list[str]:
    """List everything that would keep the stage from working, a sentence each with its remedy.

    Args:
        config: the build.
        folder: where it will be written; its disk is looked at.
    """
    return source_for(config).problems(config, folder)


def estimate(config: BuildConfig) -> str | None:
    """Say how long the images will take, from a short probe; None where nothing is drawn or it is not worth one.

    Raises:
        UserError: where the probe shows that they cannot be drawn.
    """
    source = source_for(config)
    return source.estimate(config.on_chosen_device()) if isinstance(source, Source) else None
