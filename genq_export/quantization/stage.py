"""The quantize stage as the pipeline sees it; `genq_export.quantization.run` does the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.registry import METHODS
from genq_export.core.distributed import Ranks
from genq_export.core.errors import problems_of
from genq_export.core.registry import module_of
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import kept_images
from genq_export.models import source as models
from genq_export.stage import StageContext
from genq_export.targets import target


class QuantizeStage:
    """Turn the float network and its calibration set into the fake-quant reference."""

    name = "quantize"
    previous = "calibrate"

    def settings(self, config: BuildConfig) -> object:
        """What decides the result: less the sections of methods not in use, and what changes no bit of it."""
        quantize = config.quantize
        unused = {name for name in METHODS if not quantize.uses(name)}
        return {
            "quantize": quantize.model_dump(mode="json", exclude={"memory_budget", "methods", *unused}),
            "methods": list(quantize.methods_in_use),
            "rule": target(config.target).rule.model_dump(mode="json"),
            "seed": config.seed,
            "device": config.device,
        }

    def fetch(self, context: StageContext) -> None:
        """Nothing to download."""

    def inputs(self, config: BuildConfig, workspace: Workspace) -> object:
        """The float network."""
        return models.identity(config.model)

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage with the methods in use, and the door that the network comes in by."""
        methods = (METHODS[name] for name in config.quantize.methods_in_use)
        return ("genq_export.quantization.run", *map(module_of, (*methods, models.door_path(config.model))))

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """Methods in an order that would undo one by another."""
        from genq_export.quantization.method import methods_of

        return problems_of(methods_of, config.quantize)

    def notes(self, config: BuildConfig) -> list[str]:
        """What activations below 8 bits cost, where they gain nothing."""
        settings = config.quantize
        assigned = settings.uses("mixed_precision") or settings.uses("wide_activations")
        if settings.activation_bits >= 8 or assigned:
            return []
        container = target(config.target).rule.activation_container
        return [
            f"{settings.activation_bits}-bit activations travel as {container} and are no faster than 8-bit ones:"
            f" W{settings.weight_bits}A8 (--activation-bits 8; auto: only where it helps most) is as small and loses"
            " less (docs/tune.md has figures)"
        ]

    def plan(self, config: BuildConfig) -> str:
        """How many images are looked at, and how many steps are learned."""
        from genq_export.network.range_search import IMAGES

        ranged = min(config.calibrate.images, IMAGES)
        steps = config.quantize.reconstruction.iterations if config.quantize.uses("reconstruction") else 0
        return f"ranges on {ranged} images, {steps} learned steps a block"

    def shares_work(self, config: BuildConfig) -> bool:
        """Training is shared."""
        return config.quantize.uses("qat")

    def run(self, context: StageContext) -> StageResult:
        """Quantize, training together with the other processes."""
        from genq_export.quantization.run import run

        @contextmanager
        def distributed(settings: QuantizeConfig) -> Iterator[Ranks]:
            with context.helpers.at((self.name, settings)):
                yield context.ranks

        images = kept_images(context.workspace.path("calibration"))
        model = context.load_model()
        return run(context.workspace, context.config, model, images, context.partial, context.progress, distributed)

    def assist(self, context: StageContext, task: object) -> None:
        """Take a share of every batch of training. task: the settings, with the bits of each layer."""
        from genq_export.quantization.run import help_train

        assert isinstance(task, QuantizeConfig)
        images = kept_images(context.workspace.path("calibration"))
        help_train(context.config, task, context.load_model(), images, context.partial, context.ranks)
