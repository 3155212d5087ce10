"""A build: the order of the stages, which of them are fresh, and which must run again.

A stage is fresh when its fingerprint (its settings, its code, the hashes of what it reads) is the one recorded in the
manifest and its files are unharmed. Nothing here imports torch until a stage must run.
"""

import contextlib
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from calibrate.summary import CalibrateSummary
from genq_export.config.build import BuildConfig
from genq_export.core.build_log import logged
from genq_export.core.companions import check_packages
from genq_export.core.devices import AUTO
from genq_export.core.errors import UserError
from genq_export.core.manifest import StageRecord
from genq_export.core.paths import check_place, reading
from genq_export.core.progress import Progress
from genq_export.core.workspace import CONFIG_FILE, StageResult, Workspace, package_versions
from genq_export.pipeline.fingerprint import stage_fingerprint
from genq_export.pipeline.memory import memory_watched
from genq_export.pipeline.preflight import device_problems, notes, preflight
from genq_export.pipeline.stages import STAGES, find_stage
from genq_export.pipeline.undo import Before
from genq_export.stage import Stage, StageContext

if TYPE_CHECKING:
    from torch import nn

    from genq_export.models.loaded import LoadedModel
    from runtime_tests.report.model import Report

_FROM_THE_NETWORK = {"calibrate", "quantize"}
_PARTIAL = "partial"
_PARTIAL_NAME = re.compile(r"[0-9a-f]{16}")  # of what a stage left unfinished, made from its fingerprint


def build(
    config: BuildConfig,
    output: Path | None = None,
    progress: Progress | None = None,
    module: "nn.Module | None" = None,
) -> "Report":
    """Bring a build folder up to date with `config`, keeping what still holds, and return its report.

    Args:
        config: the whole build.
        output: the build folder, by default `build/<model>-w4a4-<target>`.
        progress: where to say what is done; none: nothing is said.
        module: the network, with its weights, in the place of what `config.model.name` names; the config says the rest
            of it (`input_size`, `mean`, `std`, `classes`).

    Raises:
        UserError: for bad input or missing pieces, before anything is written where it can be known by then. A failed
            gate is not an error: see `Report.passed`.
    """
    from genq_export.models.given_module import for_given_module
    from runtime_tests.report.model import read_report

    if module is not None:
        config = for_given_module(config, module)
    folder = output or default_folder(config)
    run_stages(config, folder, STAGES, progress or Progress(quiet=True), module)
    return read_report(folder)


def default_folder(config: BuildConfig) -> Path:
    """`build/resnet50-w4a4-tensorrt`, below the current folder."""
    return Path("build") / config.folder_name


def read_config(folder: Path) -> BuildConfig:
    """The resolved config of a build folder; raises UserError where it is not one."""
    return BuildConfig.read(Workspace.existing(folder).path(CONFIG_FILE))


def run_stages(
    config: BuildConfig,
    folder: Path,
    stages: tuple[str, ...],
    progress: Progress,
    module: "nn.Module | None" = None,
) -> tuple[str, ...]:
    """Run those of `stages` that are not fresh, in order.

    Of several processes (`core.distributed`) one does all this; the others help where a stage shares its work, and end
    here.

    Returns:
        the names of the stages that ran.

    Raises:
        UserError: as `build` does.
    """
    from genq_export.core.distributed import join_ranks

    check_packages()
    check_place(folder)
    given, config = config.device, on_device(config, folder)
    ranks = join_ranks(config.device)
    load = _loader(config, progress if ranks.is_main else Progress(quiet=True), module)
    context = StageContext(Workspace(folder), config, progress, load, ranks=ranks)
    if not ranks.is_main:
        _help(replace(context, progress=Progress(quiet=True)))
        raise SystemExit(0)
    with ranks.helped() as helpers:
        context = replace(context, helpers=helpers)
        left = unfinished(config, folder, stages)
        if not left and context.workspace.holds_its_config():
            _say_versions(context, stages)
            return ()
        preflight(config, folder, left, context.load_model if _FROM_THE_NETWORK & set(left) else None, module)
        if given != config.device:
            progress.say(f"note: networks compute on {config.device} (--device {given})")
        for note in notes(config, stages):
            progress.say(f"note: {note}")
        before = Before.of(folder)
        workspace = Workspace.open(folder)
        work = f"{config.model.title}, {config.folder_name}: {', '.join(stages)}"
        with workspace.locked(), before.restored(workspace), logged(workspace, progress, work):
            _spare_what_is_not_ours(workspace, config, stages)
            workspace.write_config(config.to_yaml().encode())
            return tuple(stage for stage in stages if _bring_up_to_date(find_stage(stage), context))


def on_device(config: BuildConfig, folder: Path) -> BuildConfig:
    """Decide what `--device auto` stands for: what the folder was made on, else what is best here.

    Raises:
        UserError: where the folder was made on a device that is not here, and is not finished.
    """
    if config.device != AUTO:
        return config
    try:
        before = config.model_copy(update={"device": read_config(folder).device})
    except UserError:
        return config.on_chosen_device()
    if before.device == AUTO:
        return config.on_chosen_device()
    if not are_fresh(Workspace(folder), before, STAGES) and device_problems(before.device):
        raise UserError(
            f"{folder} was made on {before.device}, which is not here: --device cpu makes it anew, another folder (-o)"
            f" leaves it, and `genq-export verify {folder}` measures what is in it"
        )
    return before


def are_fresh(workspace: Workspace, config: BuildConfig, stages: tuple[str, ...]) -> bool:
    """Is there nothing to do? False, too, where the folder or the input cannot be read: a full run will say why."""
    try:
        found = (find_stage(name) for name in stages)
        return all(workspace.is_fresh(stage.name, stage_fingerprint(stage, workspace, config)) for stage in found)
    except UserError:
        return False


def unfinished(config: BuildConfig, folder: Path, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `stages` that are not fresh in the folder, from the first such on."""
    workspace = Workspace(folder)
    done = (folder.is_dir() and are_fresh(workspace, config, (name,)) for name in stages)
    first = next((place for place, fresh in enumerate(done) if not fresh), len(stages))
    return stages[first:]


def _bring_up_to_date(stage: Stage, context: StageContext) -> bool:
    """Run the stage unless it is fresh; returns whether it ran."""
    workspace, config = context.workspace, context.config
    if not stage.shares_work(config):
        context.helpers.release()
    stage.fetch(context)
    identity = stage_fingerprint(stage, workspace, config)
    if workspace.is_fresh(stage.name, identity):
        context.progress.say(f"{stage.name}: up to date")
        _say_versions(context, (stage.name,))
        return False
    started = time.perf_counter()
    with memory_watched(stage.name):
        result = _taken_from_neighbour(stage, context, identity) or stage.run(replace(context, identity=identity))
    workspace.record(stage.name, identity, result, time.perf_counter() - started)
    _clear_partial(workspace)
    return True


def _spare_what_is_not_ours(workspace: Workspace, config: BuildConfig, stages: tuple[str, ...]) -> None:
    """Raise UserError, before anything is changed, where a set is about to be made over images of somebody else's."""
    from calibrate.own_files import refuse_foreign_images

    first = find_stage(stages[0])
    if first.previous is None and not are_fresh(workspace, config, (first.name,)):
        refuse_foreign_images(workspace)


def _clear_partial(workspace: Workspace) -> None:
    """Remove unfinished work; what somebody else keeps in the folder stays."""
    folder = workspace.path(_PARTIAL)
    if not folder.is_dir():
        return
    for place in folder.iterdir():
        if _PARTIAL_NAME.fullmatch(place.name):
            shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()


def _taken_from_neighbour(stage: Stage, context: StageContext, identity: str) -> StageResult | None:
    """Copy what the first stage made from a build beside this one: other bits and targets share their images."""
    if stage.previous is not None:
        return None
    for manifest in sorted(context.workspace.folder.resolve().parent.glob("*/manifest.json")):
        neighbour = Workspace(manifest.parent)
        try:
            if not neighbour.is_fresh(stage.name, identity):
                continue
            record = neighbour.finished(stage.name)
            contents = _set_of(neighbour, record)
        except UserError:  # damaged, or none of ours
            continue
        context.progress.say(f"{stage.name}: the same set is in {manifest.parent.name}, copied from there")
        for name, content in contents.items():
            context.workspace.write_bytes(name, content)
        return StageResult(list(contents), record.summary)
    return None


def _set_of(neighbour: Workspace, record: StageRecord) -> dict[str, bytes]:
    """Content by name of a calibration set. Raises UserError where the manifest or the set is not to be trusted."""
    from calibrate.own_files import FOLDER

    contents: dict[str, bytes] = {}
    for name, digest in record.outputs.items():
        if PurePosixPath(name).parts[0] != FOLDER:
            raise UserError(f"{neighbour.folder}: a calibration set has no file {name}")
        with reading(neighbour.folder):
            contents[name] = neighbour.path(name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise UserError(f"{neighbour.folder}: {name} has just changed")
    try:
        CalibrateSummary.model_validate(record.summary)
    except ValidationError:
        raise UserError(f"the manifest of {neighbour.folder} is damaged") from None
    return contents


def _help(context: StageContext) -> None:
    """In a process beside the main one: take part in what is asked for, until nothing is."""
    for wanted in context.ranks.tasks():
        name, task = cast(tuple[str, object], wanted)
        stage = find_stage(name)
        stage.fetch(context)
        identity = stage_fingerprint(stage, context.workspace, context.config)
        stage.assist(replace(context, identity=identity), task)


def _loader(config: BuildConfig, progress: Progress, module: "nn.Module | None") -> "Callable[[], LoadedModel]":
    """Loads the network at the first call, saying what was decided, and hands out the same one at every other."""

    @cache
    def load() -> "LoadedModel":
        from genq_export.models.source import load_model

        model = load_model(config.model, module)
        for note in model.notes:
            progress.say(f"note: {note}")
        return model

    return load


def _say_versions(context: StageContext, stages: tuple[str, ...]) -> None:
    """Say where a stage that stays was made with other versions of packages than are installed now."""
    here = package_versions()
    for name in stages:
        made = context.workspace.finished(name).versions
        others = [f"{package} {version}" for package, version in made.items() if here.get(package) != version]
        if others:
            context.progress.say(
                f"{name}: stays as it was made with {', '.join(others)}, which are others than here;"
                " give a new folder with -o to make it again"
            )
