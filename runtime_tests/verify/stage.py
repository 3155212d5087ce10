"""The `verify` stage: measures the build on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from runtime_tests.verify.verify_file import VERIFY_FILE, keep_run

if TYPE_CHECKING:
    from genq_export.models.loaded import LoadedModel
    from runtime_tests.verify.run import MeasureSpeed


def run_verify(
    workspace: Workspace,
    config: BuildConfig,
    model: "LoadedModel",
    progress: Progress,
    calibration: Sequence[Path] = (),
    notes: tuple[str, ...] = (),
    measure_speed: "MeasureSpeed | None" = None,
) -> StageResult:
    """Measure the build on this machine and write `verify.json`.

    Args:
        workspace: The build folder.
        config: What to measure with, and on which images.
        model: The float network.
        progress: Told what happens.
        calibration: The build's calibration images; codes are compared on them where there is no evaluation set.
        notes: Kept with the run.
        measure_speed: Measures latency and size; None: as `verify` does.

    Returns:
        The file and a summary, which says whether the run stands `beside` all that were there before.

    Raises:
        UserError: The evaluation images cannot be used.
    """
    from runtime_tests.verify.run import verify
    from runtime_tests.verify.speed import speed_and_size

    started = time.perf_counter()
    run = verify(workspace, config, model, progress, calibration, measure_speed or speed_and_size)
    run = run.model_copy(update={"notes": (*notes, *run.notes)})
    beside = keep_run(workspace, run)
    return StageResult(
        outputs=[VERIFY_FILE],
        summary={
            "machine": run.machine.name,
            "beside": beside,
            "seconds": round(time.perf_counter() - started, 1),
            "backends": {item.name: item.status for item in run.backends},
            "top1": {name: score.top1 for name, score in run.accuracy.items()},
            "agreement": run.agreement,
            "codes_differing": {item.backend: item.differing for item in run.fidelity},
        },
    )
