"""`genq-export verify`"""

import sys
from pathlib import Path
from typing import Any

import typer

from genq_export.cli.console import show
from genq_export.cli.options import Folder, Given, Quiet, Verbose, with_options
from genq_export.core.progress import Progress


@with_options("verify")
def verify(folder: Folder, given: Given, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Measure accuracy, fidelity and latency of a build folder on this machine, beside what others measured.

    Prints the verdict; exit code 1 where a gate fails, or the folder is not as it was built.
    """
    from genq_export.pipeline.reverify import reverify

    progress = Progress(quiet, verbose)
    backends = tuple(given.get("backends", ()))
    ours = ("evaluation", "backends", "device")
    reading: dict[str, Any] = {name: value for name, value in given.items() if name not in ours}
    result = reverify(folder, progress, given.get("evaluation"), backends, given.get("device"), reading)
    progress.say(f"verify: measured on {result.summary['machine']}; `genq-export report {folder}` writes it down")
    if not _passed(folder):
        raise typer.Exit(1)


def _passed(folder: Path) -> bool:
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
    return report.passed and not changed
