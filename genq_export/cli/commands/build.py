"""`genq-export build`"""

import json
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from genq_export.cli.console import say, show
from genq_export.cli.options import (
    ConfigFile,
    DryRun,
    Given,
    Json,
    Model,
    Output,
    Quiet,
    RunCode,
    Settings,
    Verbose,
    with_options,
)
from genq_export.cli.resolve import new_build
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress


@with_options("build")
def build(
    *,
    model: Model = None,
    output: Output = None,
    config: ConfigFile = None,
    given: Given,
    settings: Settings = None,
    run_code: RunCode = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """From a network to a verified integer model and its report."""
    from genq_export.pipeline.build import default_folder, run_stages
    from genq_export.pipeline.stages import STAGES

    resolved = new_build("build", model, config, given, settings or (), run_code)
    folder = output or default_folder(resolved)
    if dry_run:
        _print_plan(resolved, folder, as_json)
        return
    ran = run_stages(resolved, folder, STAGES, Progress(quiet, verbose))
    print_result(folder, ran, as_json)


def print_result(folder: Path, ran: tuple[str, ...], as_json: bool) -> None:
    """Print the report of a build; a failed gate ends the command with exit code 1."""
    from runtime_tests.report.model import read_report
    from runtime_tests.report.render.terminal import terminal

    report = read_report(folder)
    if not ran:
        say(f"nothing to do: {folder} is up to date")
    show(terminal(report))
    say(f"report: {folder / 'report.html'}")
    if as_json:
        say(
            json.dumps(
                {
                    "folder": str(folder),
                    "ran": ran,
                    "passed": report.passed,
                    "measured_here": report.measured_here,
                    "report": report.model_dump(mode="json"),
                }
            )
        )
    if not report.passed:
        raise typer.Exit(1)


def _print_plan(config: BuildConfig, folder: Path, as_json: bool) -> None:
    from genq_export.models.source import load_model
    from genq_export.pipeline.plan import estimate, plan
    from genq_export.pipeline.preflight import preflight

    planned = plan(config, folder)
    show(plan_table(planned))
    # Weights of the user's are there already: whether they fit is seen without a download.
    left = [stage["stage"] for stage in planned["stages"] if not stage["fresh"]]
    preflight(config, folder, left, load=None if config.model.weights is None else lambda: load_model(config.model))
    expected = estimate(config, planned)
    if expected is not None:
        say(expected)
    if as_json:
        say(json.dumps({**planned, "estimate": expected}))


def plan_table(plan: dict[str, Any]) -> Table:
    """The stages of a plan, which of them are already up to date, and what the others would do."""
    table = Table(title=f"plan for {plan['folder']}", title_justify="left", caption_justify="left")
    table.add_column("stage")
    table.add_column("state")
    table.add_column("work")
    table.caption = "\n".join(f"note: {note}" for note in plan["notes"]) or None
    for row in plan["stages"]:
        table.add_row(row["stage"], "up to date" if row["fresh"] else "to do", row["work"])
    return table
