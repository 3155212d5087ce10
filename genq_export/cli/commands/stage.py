"""What the commands of a single stage share."""

import json
from pathlib import Path

from genq_export.cli.console import say
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace


def run_stage(
    stages: tuple[str, ...], config: BuildConfig, folder: Path, progress: Progress, as_json: bool = False
) -> tuple[str, ...]:
    """Bring stages up to date and say of the last whether there was anything to do; returns those that ran.

    as_json: print them, and what the last one wrote, as one line.
    """
    from genq_export.pipeline.build import run_stages

    ran = run_stages(config, folder, stages, progress)
    progress.say(f"{stages[-1]}: done, see {folder}" if ran else f"{stages[-1]}: up to date, nothing to do")
    if as_json:
        outputs = sorted(Workspace.existing(folder).output_hashes(stages[-1]))
        say(json.dumps({"folder": str(folder), "ran": ran, "stage": stages[-1], "outputs": outputs}))
    return ran
