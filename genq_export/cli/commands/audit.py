"""`genq-export audit`"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from genq_export.cli.console import say, show
from genq_export.cli.options import Given, Json, with_options
from genq_export.config.build import BuildConfig

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit


@with_options("audit")
def audit(
    file: Annotated[Path, typer.Argument(help="A QDQ ONNX file, ours or not, or a TensorRT engine.")],
    given: Given,
    as_json: Json = False,
) -> None:
    """Which layers of a file run in integers on a target, and why not the others."""
    from export.audit.file import ENGINE_SUFFIXES, audit_file
    from genq_export.targets import target

    wanted = target(given.get("target", BuildConfig.model_fields["target"].default))
    layers = audit_file(file, wanted.audit)
    show(audit_table(layers))
    for remark in [] if file.suffix in ENGINE_SUFFIXES else wanted.remarks(file):
        say(f"note: {remark}")
    if as_json:
        say(json.dumps([layer.row() for layer in layers]))


def audit_table(layers: "Iterable[LayerAudit]") -> Table:
    """One row a layer: integer or float, and as which operator or why not."""
    table = Table()
    for column in ("layer", "operator", "runs in", "as / why not"):
        table.add_column(column)
    for layer in layers:
        runs_in = Text("integers") if layer.integer else Text("float", "bold")
        table.add_row(layer.name, layer.op, runs_in, layer.detail)
    return table
