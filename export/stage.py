"""The export stage as the pipeline sees it; `export.run` does the work."""

from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.config.registry import TARGETS
from genq_export.core.registry import module_of
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import kept_images_if_there
from genq_export.models import source as models
from genq_export.stage import StageContext
from genq_export.targets import target


class ExportStage:
    """Fold the reference into the target's integer file."""

    name = "export"
    previous = "quantize"

    def settings(self, config: BuildConfig) -> object:
        """The form of the file; layers kept in float and the grid's name stand in its audit and README."""
        kept = (config.quantize.keep_float, config.quantize.grid_name, config.quantize.first_last_bits)
        return (config.target, config.export.model_dump(mode="json"), kept)

    def fetch(self, context: StageContext) -> None:
        """Nothing to download."""

    def inputs(self, config: BuildConfig, workspace: Workspace) -> object:
        """The network's preprocessing and classes, which the README names."""
        return models.identity(config.model)

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage, and the target."""
        return ("export.run", module_of(TARGETS[config.target]))

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """What the target cannot hold, told before anything is quantized."""
        found = target(config.target).problems(config.export)
        if config.model.dynamic_size and not target(config.target).takes_free_sizes:
            found.append(
                f"--dynamic-size: a file for --target {config.target} takes images of one size: leave it out, or give"
                " --target onnxruntime"
            )
        if config.model.dynamic_size and config.export.input != "float32":
            found.append("--dynamic-size: a file for pixels takes images of one size: leave --input out")
        return found

    def notes(self, config: BuildConfig) -> list[str]:
        """What the target goes without on this machine."""
        return target(config.target).notes()

    def plan(self, config: BuildConfig) -> str:
        """What is written."""
        return f"fold, write ONNX for {config.target}, audit every layer"

    def shares_work(self, config: BuildConfig) -> bool:
        """One process does it."""
        return False

    def run(self, context: StageContext) -> StageResult:
        """Write the file, have it audited, and describe it."""
        from export.run import run

        images = kept_images_if_there(context.workspace.path("calibration"))
        return run(context.workspace, context.config, context.load_model(), context.progress, images)

    def assist(self, context: StageContext, task: object) -> None:
        """Never asked."""
