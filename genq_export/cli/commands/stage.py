"""What the commands of a single stage share."""

from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress


def run_stage(stages: tuple[str, ...], config: BuildConfig, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Bring stages up to date and say of the last whether there was anything to do; returns those that ran."""
    from genq_export.pipeline.build import run_stages

    ran = run_stages(config, folder, stages, progress)
    progress.say(f"{stages[-1]}: done, see {folder}" if ran else f"{stages[-1]}: up to date, nothing to do")
    return ran
