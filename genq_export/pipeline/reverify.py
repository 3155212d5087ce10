"""Verify a finished build once more, here: other images, another backend, or another machine that has only the folder.

What was measured before stays. Neither the config nor the stages of the build are touched: a build verified elsewhere
and copied back is still up to date.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.build import BuildConfig
from genq_export.core.build_log import logged
from genq_export.core.companions import check_packages
from genq_export.core.errors import UserError, refuse
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import kept_images_if_there
from genq_export.models import source as models
from genq_export.models.description import FILE, NetworkDescription, read_description
from genq_export.pipeline.build import read_config
from genq_export.pipeline.fingerprint import stage_fingerprint
from genq_export.pipeline.memory import memory_watched
from genq_export.pipeline.preflight import device_problems
from genq_export.pipeline.stages import find_stage

if TYPE_CHECKING:
    from genq_export.models.loaded import LoadedModel
    from runtime_tests.verify.results import DeviceResult


def reverify(
    folder: Path,
    progress: Progress,
    evaluation: Path | None = None,
    backends: tuple[str, ...] = (),
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> StageResult:
    """Run `verify` on this machine and add its results to `verify.json`, beside those of other machines and images.

    evaluation, backends, device: as in the build's config where they are not given; a device that is not here gives way
    to the CPU. settings: other fields of `verify`, such as how labels are read. Raises UserError where the folder holds
    no exported build or the evaluation images cannot be used.
    """
    from runtime_tests.verify.stage import evaluation_problems, run_verify

    check_packages()
    workspace = Workspace.existing(folder)
    workspace.output_hashes("export")
    config = _changed(read_config(folder), evaluation, backends, device, settings or {})
    refuse([*device_problems(config.device), *evaluation_problems(config, _classes(folder, config))])
    with workspace.locked(), logged(workspace, progress, f"{config.model.title}: verify once more"):
        model, note = float_network(workspace, config)
        images = kept_images_if_there(workspace.path("calibration"))
        with memory_watched("verify"):
            result = run_verify(workspace, config, model, progress, images, (note,) if note else ())
        _record(workspace, config, result)
    return result


def take_result(folder: Path, result: Path) -> "DeviceResult":
    """Add what the check found on another device to `verify.json`. Raises UserError where it is not of this build."""
    from runtime_tests.verify.device_result import take_result as take

    return _taken(folder, lambda workspace: take(workspace, result))


def keep_result(folder: Path, found: "DeviceResult", source: str) -> "DeviceResult":
    """Add what a device found, and told this machine itself, to `verify.json`.

    Raises:
        UserError: where it is not of this build.
        BusyError: where another command works in the folder.
    """
    from runtime_tests.verify.device_result import keep_result as keep

    return _taken(folder, lambda workspace: keep(workspace, found, source))


def _taken(folder: Path, take: "Callable[[Workspace], DeviceResult]") -> "DeviceResult":
    workspace = Workspace.existing(folder)
    workspace.finished("verify")
    with workspace.locked():
        taken = take(workspace)
        workspace.rehash("verify")
    return taken


def _changed(
    config: BuildConfig,
    evaluation: Path | None,
    backends: tuple[str, ...],
    device: str | None,
    settings: Mapping[str, Any],
) -> BuildConfig:
    values: dict[str, Any] = config.model_dump(mode="json")
    values["verify"] |= settings
    if evaluation is not None:
        values["verify"]["evaluation"] = str(evaluation)
    if backends:
        values["verify"]["backends"] = list(backends)
    values["device"] = device or ("cpu" if device_problems(config.device) else config.device)
    return BuildConfig.parse(values, source="verify").on_chosen_device()


def float_network(workspace: Workspace, config: BuildConfig) -> tuple["LoadedModel", str | None]:
    """The float network; where its weights are not on this machine, the reference's float weights in its place."""
    models.check_name(config.model)
    runs_code = models.runs_code(config.model)
    if not runs_code and not models.problems(config.model):
        return models.load_model(config.model), None
    from genq_export.network.files import load_reference
    from genq_export.network.hooks import set_quantization

    module = load_reference(workspace.folder)
    set_quantization(module, False)
    title = config.model.title
    why = f"to load {title} would run its file" if runs_code else f"the weights of {title} are not on this machine"
    note = (
        f"{why}: as float counts the reference with its quantizers off, which holds the same weights with BatchNorm"
        " folded in"
    )
    described = _described(workspace.folder, config)
    return models.with_module(config.model, module) if described is None else described.with_module(module), note


def _classes(folder: Path, config: BuildConfig) -> "LoadedModel | None":
    """The network's classes, as the build wrote them down; no code of a network's is run to find them."""
    from torch import nn

    described = _described(folder, config)
    return models.known_classes(config.model) if described is None else described.with_module(nn.Identity())


def _described(folder: Path, config: BuildConfig) -> NetworkDescription | None:
    """What the build wrote down; None in older builds, whose networks are asked themselves."""
    described = read_description(folder)
    if described is None and models.runs_code(config.model):
        raise UserError(f"{folder} has no {FILE}, and its network is code, which is not run here: export it again")
    return described


def _record(workspace: Workspace, config: BuildConfig, result: StageResult) -> None:
    """A run beside others leaves the stage as it was; one in the place of another is what the stage now stands for."""
    if result.summary["beside"] and "verify" in workspace.read_manifest().stages:
        workspace.rehash("verify")
        return
    try:
        identity = stage_fingerprint(find_stage("verify"), workspace, config)
    except UserError:  # the weights are not here
        identity = "measured without the float weights"
    workspace.record("verify", identity, result, result.summary["seconds"])
