"""The `verify` stage: measures the build on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.build import BuildConfig
from genq_export.config.registry import RUNTIMES, TARGETS
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.registry import module_of
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import kept_images_if_there
from genq_export.data.layout import used_digest
from genq_export.data.raw import Reading
from genq_export.models import source as models
from genq_export.stage import StageContext
from runtime_tests.verify.measured_here import remember
from runtime_tests.verify.verify_file import ANSWERS_FILE, VERIFY_FILE, keep_run

if TYPE_CHECKING:
    from genq_export.models.loaded import LoadedModel
    from runtime_tests.verify.speed import MeasureSpeed

_USUAL_TASK = "classification"


class VerifyStage:
    """Measure the deployed file on this machine."""

    name = "verify"
    previous = "export"

    def settings(self, config: BuildConfig) -> object:
        """What is measured, and on which device the oracle computes."""
        return (config.target, config.verify.model_dump(mode="json"), config.device)

    def fetch(self, context: StageContext) -> None:
        """Nothing to download."""

    def inputs(self, config: BuildConfig, workspace: Workspace) -> object:
        """The float network, and the evaluation images."""
        given = config.verify.evaluation
        images = None if given is None else used_digest(given, Reading.of(config.verify, "eval"))
        return (models.identity(config.model), images)

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage, the target and every runtime."""
        return ("runtime_tests.verify.stage", module_of(TARGETS[config.target]), *map(module_of, RUNTIMES.values()))

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """What is wrong with the evaluation images."""
        return evaluation_problems(
            config, None if config.verify.evaluation is None else models.known_classes(config.model)
        )

    def notes(self, config: BuildConfig) -> list[str]:
        """Nothing to say."""
        return []

    def plan(self, config: BuildConfig) -> str:
        """What is measured."""
        return "float, reference, integer oracle and runtime on the evaluation images; latency alternating"

    def shares_work(self, config: BuildConfig) -> bool:
        """One process does it."""
        return False

    def run(self, context: StageContext) -> StageResult:
        """Measure, and keep what other machines measured of the same files."""
        images = kept_images_if_there(context.workspace.path("calibration"))
        return run_verify(context.workspace, context.config, context.load_model(), context.progress, images)

    def assist(self, context: StageContext, task: object) -> None:
        """Never asked."""


def evaluation_problems(config: BuildConfig, network: "LoadedModel | None") -> list[str]:
    """Why the evaluation images cannot be used; empty where they can, as far as the beginnings of the files tell.

    network: its classes; None where they are not known.
    """
    source = config.verify.evaluation
    if source is None:
        return []
    if not source.exists():
        return [f"evaluation folder {source} does not exist (--eval takes a folder with one subfolder a class)"]
    from genq_export.tasks.task import task_of

    told = config.model.task or models.door_for(config.model).task(config.model) if network is None else network.task
    task = task_of(told or _USUAL_TASK)
    try:
        task.check_evaluation_set(source, network, Reading.of(config.verify, "eval"))
    except UserError as error:
        return [f"--eval: {error}"]
    return []


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
    from runtime_tests.verify.speed import measure_speed as measure_speed_here

    started = time.perf_counter()
    config = config.on_chosen_device()
    run = verify(workspace, config, model, progress, calibration, measure_speed or measure_speed_here)
    run = run.model_copy(update={"notes": (*notes, *run.notes)})
    try:
        remember(run)
    except UserError as error:
        progress.say(f"note: that this machine measured it cannot be noted ({error}): the report will not say so")
    beside = keep_run(workspace, run)
    sheets = [ANSWERS_FILE] if workspace.path(ANSWERS_FILE).is_file() else []
    return StageResult(
        outputs=[VERIFY_FILE, *sheets],
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
