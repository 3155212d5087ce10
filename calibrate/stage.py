"""The calibrate stage as the pipeline sees it; `calibrate.run` does the work."""

from pathlib import Path

from calibrate.preflight import identity, problems
from calibrate.sources.source import Source, source_for, source_path
from genq_export.config.build import BuildConfig
from genq_export.config.registry import FILTERS
from genq_export.core.registry import module_of
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models import source as models
from genq_export.stage import StageContext


class CalibrateStage:
    """Make the calibration set, or take over one made before."""

    name = "calibrate"
    previous = None

    def settings(self, config: BuildConfig) -> object:
        """What is drawn and what is kept; a set made before has decided that itself."""
        if not isinstance(source_for(config), Source):
            return None
        return (config.calibrate.model_dump(mode="json"), config.seed, config.device)

    def fetch(self, context: StageContext) -> None:
        """What the source draws with, where it is only on the hub."""
        source = source_for(context.config)
        if isinstance(source, Source):
            source.fetch(context.config, context.progress)

    def inputs(self, config: BuildConfig, workspace: Workspace) -> object:
        """The network, and the files that the source is made of."""
        network = models.identity(config.model) if isinstance(source_for(config), Source) else None
        return (network, identity(config))

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage with the source, the filters, and the door that the network comes in by."""
        chosen = (source_path(config), models.door_path(config.model), *FILTERS.values())
        return ("calibrate.run", *map(module_of, chosen))

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """What the source, its prompts or the disk lack."""
        return problems(config, folder)

    def notes(self, config: BuildConfig) -> list[str]:
        """Nothing to say."""
        return []

    def plan(self, config: BuildConfig) -> str:
        """How many images are drawn and kept."""
        if not isinstance(source_for(config), Source):
            return f"take over the set of {config.calibrate.calibration_set}"
        drawn = round(config.calibrate.images * config.calibrate.pool_factor)
        return f"draw about {drawn} images, keep {config.calibrate.images}"

    def shares_work(self, config: BuildConfig) -> bool:
        """Every process draws its share."""
        return isinstance(source_for(config), Source)

    def run(self, context: StageContext) -> StageResult:
        """Make the set together with the other processes."""
        from calibrate.run import run

        arguments = (context.workspace, context.config, context.load_model(), context.progress)
        if not self.shares_work(context.config):
            return run(*arguments)
        with context.helpers.at((self.name, None)):
            return run(*arguments)

    def assist(self, context: StageContext, task: object) -> None:
        """Draw the share of this process."""
        from calibrate.run import run

        run(context.workspace, context.config, context.load_model(), context.progress)
