"""The calibrate stage as the pipeline sees it; `calibrate.run` does the work."""

from pathlib import Path

from calibrate.dataset import METADATA, kept_images
from calibrate.preflight import identity, problems
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.workspace import StageResult, sha256
from genq_export.models import source as models
from genq_export.stage import StageContext


class CalibrateStage:
    """Make the calibration set, or take over one made before."""

    name = "calibrate"
    previous = None

    def settings(self, config: BuildConfig) -> object:
        """What is drawn and what is kept; a set made before has decided that itself."""
        if config.calibrate.made_before is not None:
            return None
        return (config.calibrate.model_dump(mode="json"), config.seed, config.device)

    def inputs(self, config: BuildConfig) -> object:
        """The network, and the files that the generator is made of."""
        if config.calibrate.made_before is not None:
            return sha256(set_folder(config.calibrate.made_before) / "metadata.jsonl")
        return (models.identity(config.model), identity(config))

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage, and the door that the network comes in by."""
        return ("calibrate.run",)

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """What the generator, its prompts or the disk lack."""
        source = config.calibrate.made_before
        if source is None:
            return problems(config, folder)
        try:
            set_folder(source)
        except UserError as error:
            return [str(error)]
        return []

    def notes(self, config: BuildConfig) -> list[str]:
        """Nothing to say."""
        return []

    def plan(self, config: BuildConfig) -> str:
        """How many images are drawn and kept."""
        drawn = round(config.calibrate.images * config.calibrate.pool_factor)
        return f"draw about {drawn} images, keep {config.calibrate.images}"

    def shares_work(self, config: BuildConfig) -> bool:
        """Every process draws its share."""
        return True

    def run(self, context: StageContext) -> StageResult:
        """Make the set together with the other processes."""
        from calibrate.run import run

        made_before = context.config.calibrate.made_before
        if made_before is not None:
            return _taken_over(made_before, context)
        with context.helpers.at((self.name, None)):
            return run(context.workspace, context.config, context.load_model(), context.progress)

    def assist(self, context: StageContext, task: object) -> None:
        """Draw the share of this process."""
        from calibrate.run import run

        run(context.workspace, context.config, context.load_model(), context.progress)


def set_folder(source: Path) -> Path:
    """The calibration set in a build folder, or the folder itself; raises UserError where neither holds one."""
    for folder in (source / "calibration", source):
        if (folder / METADATA).is_file():
            return folder
    raise UserError(f"no calibration set in {source}: --calibration takes a build folder ({METADATA} is not there)")


def _taken_over(source: Path, context: StageContext) -> StageResult:
    """Copy a set made before, for this network or another: its kept images and its metadata."""
    folder = set_folder(source)
    files = [folder / METADATA, *kept_images(folder)]
    context.progress.say(f"calibrate: {len(files) - 1} images from {folder}")
    names = [f"calibration/{path.relative_to(folder)}" for path in files]
    for name, path in zip(names, files, strict=True):
        context.workspace.write_bytes(name, path.read_bytes())
    return StageResult(names, {"generator": f"the set in {folder}", "kept": len(files) - 1})
