"""`genq-export overlay`"""

import json
from pathlib import Path
from typing import Annotated

import typer

from genq_export.cli.commands.report import stop_where_changed
from genq_export.cli.console import say
from genq_export.cli.options import Folder, Json
from genq_export.core.errors import UserError
from genq_export.core.workspace import write_atomic, writing


def overlay(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--output", help="A new folder for the files.")],
    as_json: Json = False,
) -> None:
    """Write what the report knows of each node for Model Explorer (node data) and Netron (annotated.onnx)."""
    from runtime_tests.report.model import read_report
    from runtime_tests.report.overlay import overlay as files_of

    stop_where_changed(folder, with_report=True)
    files = files_of(read_report(folder), folder / "model.onnx")
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} is there and not empty: give a new folder")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(out / name, content)
    say(f"{out}: {', '.join(files)}")
    if as_json:
        say(json.dumps({"folder": str(out), "files": sorted(files)}))
