"""The verify stage: measure the build on this machine, beside what others measured of it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.build import BuildConfig
from genq_export.config.registry import RUNTIMES, TARGETS
from genq_export.core.errors import UserError
from genq_export.core.folders import folder_identity
from genq_export.core.progress import Progress
from genq_export.core.registry import module_of
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models import source as models
from genq_export.stage import StageContext
from runtime_tests.verify.results import Verification, VerifyFile

if TYPE_CHECKING:
    from genq_export.models.loaded import LoadedModel


def run_verify(
    workspace: Workspace,
    config: BuildConfig,
    model: "LoadedModel",
    progress: Progress,
    calibration: Sequence[Path] = (),
    notes: tuple[str, ...] = (),
) -> StageResult:
    """Measure the build on this machine and write `verify.json`; `notes` are kept with the run.

    calibration: the build's calibration images; codes are compared on them where there is no evaluation set.

    Runs of other machines or on other images stay beside the new one. This machine's earlier run on the same images is
    replaced, and so is everything measured on files that have changed since. The summary says whether the run stands
    `beside` all the others. Raises UserError for evaluation data that cannot be used.
    """
    from runtime_tests.verify.run import verify

    started = time.perf_counter()
    run = verify(workspace, config, model, progress, calibration)
    run = run.model_copy(update={"notes": (*notes, *run.notes)})
    earlier = _earlier(workspace)
    kept = tuple(item for item in earlier if item.artefacts == run.artefacts and not _same_place(item, run))
    workspace.write_json("verify.json", VerifyFile(runs=(*kept, run)).model_dump(mode="json"))
    return StageResult(
        outputs=["verify.json"],
        summary={
            "machine": run.machine.name,
            "beside": bool(earlier) and kept == earlier,
            "seconds": round(time.perf_counter() - started, 1),
            "backends": {item.name: item.status for item in run.backends},
            "top1": {name: score.top1 for name, score in run.accuracy.items()},
            "agreement": run.agreement,
            "codes_differing": {item.backend: item.differing for item in run.fidelity},
        },
    )


class VerifyStage:
    """Measure the deployed file on this machine."""

    name = "verify"
    previous = "export"

    def settings(self, config: BuildConfig) -> object:
        """What is measured, and on which device the oracle computes."""
        return (config.target, config.verify.model_dump(mode="json"), config.device)

    def inputs(self, config: BuildConfig) -> object:
        """The float network, and the evaluation images."""
        return (models.identity(config.model), folder_identity(config.verify.evaluation))

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage, the target and every runtime."""
        return ("runtime_tests.verify.stage", module_of(TARGETS[config.target]), *map(module_of, RUNTIMES.values()))

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """What is wrong with the evaluation images."""
        return evaluation_problems(config.verify.evaluation)

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
        images = calibration_images(context.workspace)
        return run_verify(context.workspace, context.config, context.load_model(), context.progress, images)

    def assist(self, context: StageContext, task: object) -> None:
        """Never asked."""


def calibration_images(workspace: Workspace) -> list[Path]:
    """Images that the build was calibrated on; none where the folder came without them."""
    from genq_export.data.calibration_set import kept_images

    try:
        return kept_images(workspace.path("calibration"))
    except UserError:
        return []


def evaluation_problems(source: Path | None) -> list[str]:
    """Why the path of evaluation images is none; empty where it may be."""
    if source is None or source.is_dir() or (source.suffix == ".tar" and source.is_file()):
        return []
    if source.is_file():
        return [f"--eval {source} is a file: give a folder of images, a Hugging Face data set or .tar shards"]
    return [f"evaluation folder {source} does not exist (--eval takes a folder with one subfolder a class)"]


def _earlier(workspace: Workspace) -> tuple[Verification, ...]:
    """What was measured before."""
    from runtime_tests.report.assemble import read_verification

    if not workspace.path("verify.json").is_file():
        return ()
    try:
        return read_verification(workspace).runs
    except UserError:
        return ()  # damaged or of another version: measured again now


def _same_place(first: Verification, second: Verification) -> bool:
    """The same machine and the same images? Names alone do not tell: virtual machines share them."""
    places = [
        (run.machine.name, run.machine.cpu, run.machine.cores, run.machine.gpu, run.evaluation and run.evaluation.name)
        for run in (first, second)
    ]
    return places[0] == places[1]
