"""The work of the quantize stage: a float network and a calibration set become the fake-quant reference.

The network is prepared (quantizers in place, ranges searched) and the methods that the config names are applied.
"""

from contextlib import nullcontext
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.distributed import Ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.files import save_reference
from genq_export.quantization.method import Distributed, Phase, alone
from genq_export.quantization.work import Work


def run(
    workspace: Workspace,
    config: BuildConfig,
    model: LoadedModel,
    images: list[Path],
    partial: Path,
    progress: Progress,
    distributed: Distributed | None = None,
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
    model: LoadedModel,
    images: list[Path],
    partial: Path,
    ranks: Ranks,
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
    config = config.model_copy(update={"quantize": settings})
    Work.begin(config, model, images, partial, Progress(quiet=True), lambda _: nullcontext(ranks)).help()
