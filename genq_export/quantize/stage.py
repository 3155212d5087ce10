"""The quantize stage as the pipeline sees it; `genq_export.quantize.run` does the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.distributed import Ranks
from genq_export.core.workspace import StageResult
from genq_export.models import source as models
from genq_export.stage import StageContext
from genq_export.targets import target


class QuantizeStage:
    """Turn the float network and its calibration set into the fake-quant reference."""

    name = "quantize"
    previous = "calibrate"

    def settings(self, config: BuildConfig) -> object:
        """Grids and methods, and what the target holds; how much memory is used changes no bit of the result."""
        deciding = config.quantize.model_dump(mode="json", exclude={"memory_budget"})
        return (deciding, target(config.target).rule.model_dump(), config.seed, config.device)

    def inputs(self, config: BuildConfig) -> object:
        """The float network."""
        return models.identity(config.model)

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage."""
        return ("genq_export.quantize.run",)

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """None that can be told before the network is loaded."""
        return []

    def notes(self, config: BuildConfig) -> list[str]:
        """Nothing to say."""
        return []

    def plan(self, config: BuildConfig) -> str:
        """How many images are looked at, and how many steps are learned."""
        ranged = min(config.calibrate.images, 256)
        return f"ranges on {ranged} images, {config.quantize.iterations} learned steps a block"

    def shares_work(self, config: BuildConfig) -> bool:
        """Training is shared."""
        return config.quantize.qat_epochs > 0

    def run(self, context: StageContext) -> StageResult:
        """Quantize, training together with the other processes."""
        from calibrate.dataset import kept_images
        from genq_export.quantize.run import run

        @contextmanager
        def distributed(settings: QuantizeConfig) -> Iterator[Ranks]:
            with context.helpers.at((self.name, settings)):
                yield context.ranks

        images = kept_images(context.workspace.path("calibration"))
        return run(
            context.workspace,
            context.config,
            context.load_model(),
            images,
            context.partial,
            context.progress,
            distributed,
        )

    def assist(self, context: StageContext, task: object) -> None:
        """Take a share of every batch of training. task: the settings, with the bits of each layer."""
        from calibrate.dataset import kept_images
        from genq_export.quantize.run import help_train

        assert isinstance(task, QuantizeConfig)
        images = kept_images(context.workspace.path("calibration"))
        help_train(context.config, task, context.load_model(), images, context.partial, context.ranks)

