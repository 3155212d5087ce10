"""A build: the order of the stages, which of them are fresh, and which must run again.

A stage is fresh when its fingerprint (its settings, its code, the hashes of what it reads) is the one recorded in the
manifest and its files are unharmed. Nothing here imports torch until a stage must run.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.companions import check_packages
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace, code_identity, fingerprint, sha256
from genq_export.models import source as models
from genq_export.pipeline.preflight import notes, preflight
from genq_export.targets import rule_for

if TYPE_CHECKING:
    from genq_export.core.collectives import TrainingRanks
    from genq_export.core.distributed import Helpers, Ranks
    from genq_export.models.loaded import LoadedModel
    from runtime_tests.report.assemble import Report

STAGES = ("calibrate", "quantize", "export", "verify", "report")
_CONFIG_FILE = "config.yaml"
_PARTIAL = "partial"
_SOURCES = Path(__file__).resolve().parents[2]


def build(config: BuildConfig, output: Path | None = None, progress: Progress | None = None) -> "Report":
    """Bring a build folder up to date with `config`, keeping what still holds, and return its report.

    output: default `build/<model>-w4a4-<target>`. Raises UserError for bad input or missing pieces, before anything is
    written where it can be known by then. A failed gate is not an error: see `Report.passed`.
    """
    from runtime_tests.report.assemble import read_report

    folder = output or default_folder(config)
    run_stages(config, folder, STAGES, progress or Progress(quiet=True))
    return read_report(folder)


def default_folder(config: BuildConfig) -> Path:
    """`build/resnet50-w4a4-tensorrt`, below the current folder."""
    return Path("build") / config.folder_name


def run_stages(
    config: BuildConfig, folder: Path, stages: tuple[str, ...], progress: Progress, force: bool = False
) -> tuple[str, ...]:
    """Run those of `stages` that are not fresh, in order; returns the ones that ran.

    force: run them even if they are fresh. Raises UserError as `build` does. Of several processes
    (`genq_export.core.distributed`) one does all this; the others draw their share of the calibration set and take
    their share in QAT, where there is either to do, and end here.
    """
    from genq_export.core.distributed import join_ranks

    check_packages()
    ranks = join_ranks(config.device)
    if not ranks.is_main:
        for task in ranks.tasks():
            if isinstance(task, QuantizeConfig):
                _train_share(config, task, folder, ranks)
            else:
                _draw_share(config, folder)
        raise SystemExit(0)
    with ranks.helped() as helpers:
        job = _Build(Workspace(folder), config, progress, ranks, helpers)
        if not force and folder.is_dir() and job.all_fresh(stages):
            return ()
        preflight(config, folder, stages)
        for note in notes(config) if "export" in stages else ():
            progress.say(f"note: {note}")
        workspace = Workspace.open(folder)
        with workspace.locked():
            workspace.write_bytes(_CONFIG_FILE, config.to_yaml().encode())
            return tuple(stage for stage in stages if job.bring_up_to_date(stage, force))


def calibration_images(workspace: Workspace) -> list[Path]:
    """Images that the build was calibrated on; none where the folder came without them."""
    from calibrate.dataset import kept_images

    try:
        return kept_images(workspace.path("calibration"))
    except UserError:
        return []


def _draw_share(config: BuildConfig, folder: Path) -> None:
    from calibrate.stage import run as run_calibrate

    run_calibrate(Workspace(folder), config, models.load_model(config.model), Progress(quiet=True))


def _train_share(config: BuildConfig, settings: QuantizeConfig, folder: Path, ranks: "Ranks") -> None:
    from calibrate.dataset import kept_images
    from genq_export.quantize.stage import help_train

    workspace = Workspace(folder)
    partial = _partial_folder(workspace, stage_fingerprint(workspace, config, "quantize"))
    images = kept_images(workspace.path("calibration"))
    help_train(config, settings, models.load_model(config.model), images, partial, _training_ranks(ranks))


def _partial_folder(workspace: Workspace, identity: str) -> Path:
    """Where the quantize stage keeps what it has done so far."""
    return workspace.path(_PARTIAL, identity[:16])


def _training_ranks(ranks: "Ranks") -> "TrainingRanks":
    from genq_export.core.collectives import TrainingRanks

    return TrainingRanks(ranks.rank, ranks.world)


def read_config(folder: Path) -> BuildConfig:
    """The resolved config of a build folder; raises UserError where it is not one."""
    return BuildConfig.read(Workspace.existing(folder).path(_CONFIG_FILE))


def stage_fingerprint(workspace: Workspace, config: BuildConfig, stage: str) -> str:
    """Identity of what a stage would be made from; raises UserError where that cannot be read."""
    return _planned(workspace, config)._fingerprint(stage)


def _planned(workspace: Workspace, config: BuildConfig) -> "_Build":
    """A build to ask about, not to run."""
    from genq_export.core.distributed import Helpers, Ranks

    return _Build(workspace, config, Progress(quiet=True), Ranks(), Helpers(Ranks()))


class _Build:
    """One run over one folder; loads the network once, and only if a stage needs it.

    ranks, helpers: this process's number and the other processes, which help to draw and to train.
    """

    def __init__(
        self, workspace: Workspace, config: BuildConfig, progress: Progress, ranks: "Ranks", helpers: "Helpers"
    ) -> None:
        self._workspace = workspace
        self._config = config
        self._progress = progress
        self._ranks = ranks
        self._helpers = helpers

    def all_fresh(self, stages: tuple[str, ...]) -> bool:
        """Is there nothing to do? False, too, where the folder or the input cannot be read: a full run will say why."""
        try:
            return all(self._workspace.is_fresh(stage, self._fingerprint(stage)) for stage in stages)
        except UserError:
            return False

    def bring_up_to_date(self, stage: str, force: bool) -> bool:
        """Run the stage unless it is fresh; returns whether it ran."""
        if stage != "calibrate" and not (stage == "quantize" and self._config.quantize.qat_epochs > 0):
            self._helpers.release()
        identity = self._fingerprint(stage)
        if not force and self._workspace.is_fresh(stage, identity):
            self._progress.say(f"{stage}: up to date")
            return False
        started = time.perf_counter()
        result = self._run(stage, identity)
        self._workspace.record(stage, identity, result, time.perf_counter() - started)
        return True

    @cached_property
    def _model(self) -> "LoadedModel":
        return models.load_model(self._config.model)

    def _run(self, stage: str, identity: str) -> StageResult:
        if stage == "calibrate":
            return self._calibrate(identity)
        if stage == "quantize":
            return self._quantize(identity)
        if stage == "export":
            from export.stage import run as run_export

            return run_export(self._workspace, self._config, self._model, self._progress)
        if stage == "verify":
            from runtime_tests.verify.stage import run_verify

            images = calibration_images(self._workspace)
            return run_verify(self._workspace, self._config, self._model, self._progress, images)
        from runtime_tests.verify.stage import run_report

        return run_report(self._workspace, self._config, self._progress)

    def _calibrate(self, identity: str) -> StageResult:
        from calibrate.stage import run as run_calibrate

        if self._config.calibrate.made_before is not None:
            return self._take_over_set(self._config.calibrate.made_before)
        taken_over = self._take_over_neighbour(identity)
        if taken_over is not None:
            return taken_over
        with self._helpers.at("calibrate"):
            return run_calibrate(self._workspace, self._config, self._model, self._progress)

    def _take_over_neighbour(self, identity: str) -> StageResult | None:
        """Copy the same set from a build beside this one: other bits and targets are built from the same images."""
        for manifest in sorted(self._workspace.folder.resolve().parent.glob("*/manifest.json")):
            neighbour = Workspace(manifest.parent)
            try:
                if not neighbour.is_fresh("calibrate", identity):
                    continue
                outputs, summary = neighbour.output_hashes("calibrate"), neighbour.summary("calibrate")
            except (UserError, KeyError, OSError):
                continue
            self._progress.say(f"calibrate: the same set is in {manifest.parent.name}, copied from there")
            for name in outputs:
                self._workspace.write_bytes(name, neighbour.path(name).read_bytes())
            return StageResult(list(outputs), summary)
        return None

    def _take_over_set(self, source: Path) -> StageResult:
        """Copy a set made before, for this network or another: its kept images and its metadata."""
        from calibrate.dataset import kept_images

        folder = _set_folder(source)
        files = [folder / "metadata.jsonl", *kept_images(folder)]
        self._progress.say(f"calibrate: {len(files) - 1} images from {folder}")
        names = [f"calibration/{path.relative_to(folder)}" for path in files]
        for name, path in zip(names, files, strict=True):
            self._workspace.write_bytes(name, path.read_bytes())
        return StageResult(names, {"generator": f"the set in {folder}", "kept": len(files) - 1})

    def _quantize(self, identity: str) -> StageResult:
        from calibrate.dataset import kept_images
        from genq_export.quantize.stage import run as run_quantize

        partial = _partial_folder(self._workspace, identity)
        images = kept_images(self._workspace.path("calibration"))
        result = run_quantize(
            self._workspace, self._config, self._model, images, partial, self._progress, self._train_together
        )
        shutil.rmtree(self._workspace.path(_PARTIAL), ignore_errors=True)
        return result

    @contextmanager
    def _train_together(self, settings: QuantizeConfig) -> Iterator["TrainingRanks"]:
        with self._helpers.at(settings):
            yield _training_ranks(self._ranks)

    def _fingerprint(self, stage: str) -> str:
        config = self._config
        # The report is made from the folder alone: the network's weights need not be on this machine.
        identity = "" if stage == "report" else models.identity(config.model)
        if stage == "calibrate":
            from calibrate.preflight import identity as generator_identity

            if config.calibrate.made_before is not None:
                return fingerprint(stage, sha256(_set_folder(config.calibrate.made_before) / "metadata.jsonl"))
            settings = (config.calibrate.model_dump(mode="json"), config.seed, config.device)
            return fingerprint(stage, _code("calibrate", "genq_export"), settings, identity, generator_identity(config))
        before = STAGES[STAGES.index(stage) - 1]
        inputs = self._workspace.output_hashes(before)
        common = (stage, identity, inputs, rule_for(config.target).model_dump(), config.seed)
        if stage == "quantize":
            deciding = config.quantize.model_dump(exclude={"memory_budget"})  # which changes no bit of the result
            code = _code("genq_export/quantize", "genq_export")
            return fingerprint(common, code, deciding, config.device)
        if stage == "export":
            return fingerprint(common, _code("export", "genq_export/quantize"), config.export.model_dump())
        evaluation = _folder_identity(config.verify.evaluation)
        if stage == "verify":
            code = _code("runtime_tests", "export", "genq_export/quantize", "genq_export")
            return fingerprint(common, code, config.verify.model_dump(mode="json"), evaluation, config.device)
        return fingerprint(common, _code("runtime_tests"), config.model_dump(mode="json"))


def _set_folder(source: Path) -> Path:
    """The calibration set in a build folder, or the folder itself; raises UserError where neither holds one."""
    for folder in (source / "calibration", source):
        if (folder / "metadata.jsonl").is_file():
            return folder
    raise UserError(f"no calibration set in {source}: --calibration takes a build folder (metadata.jsonl is not there)")


def _code(*folders: str) -> str:
    """Identity of the sources a stage runs; `genq_export` stands for the modules every stage shares."""
    images = ("data",)
    shared = (*images, "models", "targets", "network", "runtimes", "quantize/algorithms")
    paths = [
        path
        for folder in folders
        for path in ([_SOURCES / folder / name for name in shared] if folder == "genq_export" else [_SOURCES / folder])
    ]
    return code_identity(*paths)


def _folder_identity(folder: Path | None) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of the evaluation images: enough to notice a change without reading them all."""
    if folder is None or not folder.exists():
        return None
    if folder.is_file():
        return [(folder.name, folder.stat().st_size, folder.stat().st_mtime_ns)]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def plan(config: BuildConfig, folder: Path) -> dict[str, Any]:
    """What a build would do: for each stage whether it is fresh, and an estimate of its work in words."""
    settings = config.quantize
    drawn = round(config.calibrate.images * config.calibrate.pool_factor)
    ranged = min(config.calibrate.images, 256)
    work = {
        "calibrate": f"draw about {drawn} images, keep {config.calibrate.images}",
        "quantize": f"ranges on {ranged} images, {settings.iterations} learned steps a block",
        "export": f"fold, write ONNX for {config.target}, audit every layer",
        "verify": "float, reference, integer oracle and runtime on the evaluation images; latency alternating",
        "report": "report.html, report.json, layers.csv",
    }
    job = _planned(Workspace(folder), config)
    fresh: dict[str, bool] = {}
    for stage in STAGES:
        fresh[stage] = all(fresh.values()) and folder.is_dir() and job.all_fresh((stage,))
    return {
        "folder": str(folder),
        "notes": notes(config),
        "stages": [{"stage": stage, "fresh": fresh[stage], "work": work[stage]} for stage in STAGES],
    }


def last_report(folder: Path) -> dict[str, Any]:
    """`report.json` of a build folder as data."""
    path = Workspace.existing(folder).path("report.json")
    if not path.is_file():
        raise UserError(f"{folder} has no report.json: run `genq-export report {folder}` first")
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content
