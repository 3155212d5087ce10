"""The report stage: judge what the build folder holds, and tell it."""

from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.stage import StageContext
from runtime_tests.verify.measured_here import is_measured_here
from runtime_tests.verify.verify_file import read_verification


class ReportStage:
    """Write the report from the folder alone: the network's weights need not be on this machine."""

    name = "report"
    previous = "verify"

    def settings(self, config: BuildConfig) -> object:
        """The whole config, which the report shows."""
        return config.model_dump(mode="json")

    def fetch(self, context: StageContext) -> None:
        """Nothing to download."""

    def inputs(self, config: BuildConfig, workspace: Workspace) -> object:
        """Which runs were measured on this machine: the report of a folder that comes from another says so."""
        try:
            return [is_measured_here(run) for run in read_verification(workspace).runs]
        except UserError:  # which the report says when it is made
            return None

    def parts(self, config: BuildConfig) -> tuple[str, ...]:
        """This stage, with its templates."""
        return ("runtime_tests.report.stage",)

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """None that can be told before the folder is read."""
        return []

    def notes(self, config: BuildConfig) -> list[str]:
        """Nothing to say."""
        return []

    def plan(self, config: BuildConfig) -> str:
        """What is written."""
        return "report.html, report.json, layers.csv"

    def shares_work(self, config: BuildConfig) -> bool:
        """One process does it."""
        return False

    def run(self, context: StageContext) -> StageResult:
        """Write the report's files."""
        return run_report(context.workspace, context.config, context.progress)

    def assist(self, context: StageContext, task: object) -> None:
        """Never asked."""


def run_report(workspace: Workspace, config: BuildConfig, progress: Progress) -> StageResult:
    """Write report.html, report.json, layers.csv and summary.md from what the build folder holds.

    Returns:
        The files, and a summary with `passed`, `verdict` and the messages of failed gates.

    Raises:
        UserError: Verify has not run, or what a stage left is damaged.
    """
    from runtime_tests.report.assemble import assemble
    from runtime_tests.report.render.html import render_html
    from runtime_tests.report.render.layers_csv import layers_csv
    from runtime_tests.report.render.markdown import markdown

    report = assemble(workspace, config)
    files = {
        "report.json": report.model_dump_json(indent=1) + "\n",
        "report.html": render_html(report, workspace.folder),
        "layers.csv": layers_csv(report),
        "summary.md": markdown(report),
    }
    for name, content in files.items():
        workspace.write_bytes(name, content.encode())
    progress.detail(f"  wrote {', '.join(files)}")
    failed = [gate.message for gate in report.gates if not gate.passed]
    return StageResult(
        outputs=sorted(files), summary={"passed": report.passed, "verdict": report.verdict, "failed": failed}
    )
