"""`genq-export report`"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from genq_export.cli.commands.build import print_result
from genq_export.cli.commands.stage import run_stage
from genq_export.cli.console import say, show
from genq_export.cli.options import Folder, Json, Quiet
from genq_export.core.progress import Progress
from genq_export.core.terminal import printable
from genq_export.core.workspace import Workspace


def report(
    folder: Folder,
    other: Annotated[Path | None, typer.Argument(help="A second build folder to compare with.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull request.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the report of a build folder and print its summary; with two folders, what differs between them."""
    if other is not None:
        _print_comparison(folder, other, as_markdown, as_json)
        return
    from genq_export.pipeline.build import read_config

    stop_where_changed(folder)
    ran = run_stage(("report",), read_config(folder), folder, Progress(quiet or as_markdown))
    if as_markdown:
        say((folder / "summary.md").read_text())
    else:
        print_result(folder, ran, as_json)


def stop_where_changed(folder: Path, with_report: bool = False) -> None:
    """A report is of files that are as they were left, or there is none: exit code 1."""
    from genq_export.pipeline.integrity import changes, one_line

    workspace = Workspace.existing(folder)
    found = changes(workspace, with_report)
    if found:
        print(f"error: {printable(one_line(workspace, found))}", file=sys.stderr)
        raise typer.Exit(1)


def _print_comparison(folder: Path, other: Path, as_markdown: bool, as_json: bool) -> None:
    from runtime_tests.report import compare

    for place in (folder, other):
        stop_where_changed(place, with_report=True)
    compared = compare.compare_builds(folder, other)
    if as_markdown:
        say(compare.markdown(compared))
    elif as_json:
        say(json.dumps(compared.model_dump(mode="json")))
    else:
        show(compare.terminal(compared))
