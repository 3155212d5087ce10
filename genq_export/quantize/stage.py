"""The quantize stage: a float network and a calibration set become the fake-quant reference.

The stage prepares the network (quantizers in place, ranges searched) and applies the methods that the config names.
Importing this module does not import torch: a build that has nothing to do only asks what decides its result.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.registry import METHODS
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.registry import module_of
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models import source as models
from genq_export.targets.rule import rule_for

if TYPE_CHECKING:
    from genq_export.core.collectives import TrainingRanks
    from genq_export.models.loaded import LoadedModel
    from genq_export.quantize.method import Distributed
    from genq_export.stage import StageContext


@dataclass(frozen=True)
class QuantizeStage:
    """Quantize the network of a build on its calibration set.

    Attributes:
        images_of: the images that a build was calibrated on; stages do not know each other, so it is given.
    """

    images_of: Callable[[Workspace], list[Path]]
    name: str = "quantize"

    def settings(self, config: BuildConfig) -> object:
        """What decides the result: less the sections of methods not in use, and what changes no bit of it."""
        quantize = config.quantize
        unused = {name for name in METHODS if not quantize.uses(name)}
        return {
            "quantize": quantize.model_dump(mode="json", exclude={"memory_budget", "methods", *unused}),
            "methods": list(quantize.methods_in_use),
            "rule": rule_for(config.target).model_dump(mode="json"),
            "seed": config.seed,
            "device": config.device,
        }

    def inputs(self, workspace: Workspace, config: BuildConfig) -> object:
        """The network, and every file of the calibration set."""
        return models.identity(config.model), workspace.output_hashes("calibrate")

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This module, and the methods in use."""
        methods = (module_of(METHODS, name) for name in config.quantize.methods_in_use)
        return ("genq_export.quantize.stage", *methods)

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """Methods in an order that would undo one by another."""
        from genq_export.quantize.method import methods_of

        try:
            methods_of(config.quantize)
        except UserError as error:
            return [str(error)]
        return []

    def plan(self, config: BuildConfig) -> str:
        """What there is to do, in words."""
        from genq_export.quantize.working_network import RANGE_IMAGES

        ranged = min(config.calibrate.images, RANGE_IMAGES)
        steps = config.quantize.reconstruction.iterations if config.quantize.uses("reconstruction") else 0
        return f"ranges on {ranged} images, {steps} learned steps a block"

    def run(self, context: "StageContext") -> StageResult:
        """Quantize. What a killed run goes on from is removed at the end."""
        from genq_export.core.collectives import TrainingRanks

        @contextmanager
        def distributed(settings: QuantizeConfig) -> "Iterator[TrainingRanks]":
            with context.helpers.at(settings):
                yield TrainingRanks(context.ranks.rank, context.ranks.world)

        workspace = context.workspace
        partial = workspace.path("partial", context.identity[:16])
        images, model = self.images_of(workspace), context.load_model()
        result = run(workspace, context.config, model, images, partial, context.progress, distributed)
        shutil.rmtree(partial.parent, ignore_errors=True)
        return result


def run(
    workspace: Workspace,
    config: BuildConfig,
    model: "LoadedModel",
    images: list[Path],
    partial: Path,
    progress: Progress,
    distributed: "Distributed | None" = None,
) -> StageResult:
    """Quantize `model` on the images given.

    Args:
        workspace: the build, in which the reference is written.
        config: of the build.
        model: the float network, which stays as it is.
        images: files of the calibration set.
        partial: folder of what a killed run goes on from; the caller removes it.
        progress: where the stage tells how far it is.
        distributed: what a method runs inside whose work other processes share. These are to call `help_train` then,
            with the settings that it is given and the ranks that it gives. None: no other process helps.

    Raises:
        UserError: where the network does not trace or gives numbers that are not finite.
    """
    from genq_export.network.files import save_reference
    from genq_export.quantize.method import Phase, alone
    from genq_export.quantize.work import Work

    if not images:
        raise UserError("the calibration set is empty: nothing to quantize on")
    progress.say(f"quantize: {len(images)} images, {config.quantize.grid_name}")
    work = Work.begin(config, model, images, partial, progress, distributed or alone)
    findings = work.apply(Phase.FLOAT, Phase.BITS)
    costs = work.costs() if config.quantize.sensitivity or findings.assigned_bits else []
    findings = findings.together_with(work.apply(Phase.BLOCKS, Phase.NETWORK))
    work.network.graph.cpu()
    findings = findings.together_with(work.apply(Phase.FINISH))
    outputs = save_reference(work.network.graph, workspace.folder)
    return StageResult(outputs, work.summary(findings, costs).model_dump(mode="json"))


def help_train(
    config: BuildConfig,
    settings: QuantizeConfig,
    model: "LoadedModel",
    images: list[Path],
    partial: Path,
    ranks: "TrainingRanks",
) -> None:
    """What falls to a process beside the main one in methods that share their work; nothing is written.

    Args:
        config: of the build.
        settings: its quantize section, with the bits of each layer where they were assigned.
        model: the float network.
        images: files of the calibration set.
        partial: folder of the main process, to go on from the same epoch.
        ranks: this process's number and how many there are.
    """
    from genq_export.quantize.work import Work

    config = config.model_copy(update={"quantize": settings})
    Work.begin(config, model, images, partial, Progress(quiet=True), lambda _: nullcontext(ranks)).help()
