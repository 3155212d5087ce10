"""`genq-export package`"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from genq_export.cli.commands.report import stop_where_changed
from genq_export.cli.console import say, show
from genq_export.cli.options import Folder, Json
from genq_export.core.errors import UserError


def package(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--output", help="A new folder for the package.")],
    repository: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Upload it to the Hugging Face hub, too.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files and their sizes; write and upload nothing.")
    ] = False,
    model_type: Annotated[
        str | None, typer.Option("--model-type", help="Of transformers. [default: timm_wrapper]", show_default=False)
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="As the hub calls it, such as apache-2.0.", show_default=False)
    ] = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="The hub's name of the float network.", show_default=False)
    ] = None,
    with_float: Annotated[bool, typer.Option("--float", help="The float network as well, as onnx/model.onnx.")] = False,
    as_json: Json = False,
) -> None:
    """A build as a folder that Optimum and transformers.js load, with a model card; and on the hub."""
    from genq_export.pipeline.package.push import check_repository, push
    from genq_export.pipeline.package.write import Wish, package_files, write_package
    from runtime_tests.report.model import read_report

    if repository is not None:
        check_repository(repository)
    stop_where_changed(folder, with_report=True)
    files, notes = package_files(folder, Wish(model_type, license_name, base_model, with_float))
    show(table(files, repository, dry_run))
    for note in notes:
        say(f"note: {note}")
    if not dry_run:
        if repository is not None and not read_report(folder).passed:
            raise UserError(f"{folder} did not pass, and is not put on the hub: read its report")
        write_package(files, out)
        say(f"package: {out}")
        if repository is not None:
            push(out, files, repository)
            say(f"on the hub: {repository}")
    if as_json:
        sizes = {name: len(content) for name, content in sorted(files.items())}
        say(json.dumps({"folder": str(out), "repository": repository, "written": not dry_run, "files": sizes}))


def table(files: Mapping[str, bytes], repository: str | None, dry_run: bool) -> Table:
    """Every file with its size."""
    where = f" for {repository}" if repository is not None else ""
    drawn = Table(title=f"{'would be written' if dry_run else 'files'}{where}", title_justify="left")
    drawn.add_column("file")
    drawn.add_column("bytes", justify="right")
    for name, content in sorted(files.items()):
        drawn.add_row(name, f"{len(content):,}")
    drawn.add_row("", f"{sum(map(len, files.values())):,}")
    return drawn
