"""`genq-export verify`"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from genq_export.cli.console import say, show
from genq_export.cli.options import Folder, Given, Json, Quiet, Verbose, with_options
from genq_export.core.progress import Progress

Result = Annotated[
    Path | None,
    typer.Option("--result", help="JSON that the check of this build wrote on another device.", show_default=False),
]


@with_options("verify")
def verify(
    folder: Folder,
    given: Given,
    result: Result = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure accuracy, fidelity and latency of a build folder on this machine, beside what others measured.

    Prints the verdict; exit code 1 where a gate fails, or the folder is not as it was built.
    """
    if result is not None:
        _take(folder, result, given, as_json)
        return
    from genq_export.pipeline.reverify import reverify

    progress = Progress(quiet, verbose)
    backends = tuple(given.get("backends", ()))
    ours = ("evaluation", "backends", "device")
    reading: dict[str, Any] = {name: value for name, value in given.items() if name not in ours}
    measured = reverify(folder, progress, given.get("evaluation"), backends, given.get("device"), reading)
    progress.say(f"verify: measured on {measured.summary['machine']}; `genq-export report {folder}` writes it down")
    if not _passed(folder, as_json):
        raise typer.Exit(1)


def _take(folder: Path, result: Path, given: Mapping[str, Any], as_json: bool) -> None:
    """Put another device's result into the build; exit code 1 where it computes other codes."""
    from genq_export.core.errors import UserError
    from genq_export.pipeline.reverify import take_result

    if given:
        raise UserError("--result takes what another device found, and measures nothing: leave the other options out")
    taken = take_result(folder, result)
    show(
        f"{taken.device}, {taken.runtime}: {taken.verdict}, reported and not measured here;"
        f" `genq-export report {folder}` writes it down"
    )
    if as_json:
        say(json.dumps({"folder": str(folder), "result": taken.model_dump(mode="json")}))
    if taken.verdict == "other codes":
        raise typer.Exit(1)


def _passed(folder: Path, as_json: bool) -> bool:
    """Print what the run comes to."""
    from genq_export.core.terminal import printable
    from genq_export.core.workspace import Workspace
    from genq_export.pipeline.build import read_config
    from genq_export.pipeline.integrity import changes, one_line
    from runtime_tests.report.assemble import assemble
    from runtime_tests.report.render.terminal import terminal

    workspace = Workspace.existing(folder)
    report, changed = assemble(workspace, read_config(folder)), changes(workspace)
    show(terminal(report))
    if changed:
        print(f"error: {printable(one_line(workspace, changed))}", file=sys.stderr)
    passed = report.passed and not changed
    if as_json:
        say(json.dumps({"folder": str(folder), "passed": passed, "report": report.model_dump(mode="json")}))
    return passed
