"""The commands and what they share: parse, call, print; no logic."""

import sys
from typing import Annotated

import typer

from genq_export.cli.commands.audit import audit
from genq_export.cli.commands.build import build
from genq_export.cli.commands.calibrate import calibrate
from genq_export.cli.commands.doctor import doctor
from genq_export.cli.commands.export import export
from genq_export.cli.commands.inspect import inspect
from genq_export.cli.commands.models import models
from genq_export.cli.commands.overlay import overlay
from genq_export.cli.commands.package import package
from genq_export.cli.commands.quantize import quantize
from genq_export.cli.commands.report import report
from genq_export.cli.commands.serve import serve
from genq_export.cli.commands.tune import tune
from genq_export.cli.commands.verify import verify
from genq_export.cli.commands.verify_file import verify_file
from genq_export.cli.console import say
from genq_export.core import platforms
from genq_export.core.companions import check_packages
from genq_export.core.extras import check_command

EXIT_CODES = (
    "Exit codes: 0 done and passed; 1 a gate failed, codes differ unexplained, or a build was changed (all is written"
    " even so); 2 bad input or something missing; 130 stopped."
)
GREETING = """\
Integer models of vision networks without their training data, and the proof that they compute what they should.

  genq-export build fashion_resnet    a network in, a verified integer model and its report out
  genq-export verify-file FILE.onnx   does a runtime compute what a quantized file says?
  genq-export doctor                  what works on this machine

genq-export --help lists all commands, genq-export models what can be built.
"""

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False, epilog=EXIT_CODES)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"genq-export {version('genq-export')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Quantize and deploy vision networks without their training data."""
    check_packages()  # before a command imports any of them
    if context.invoked_subcommand is None:
        say(GREETING)
    elif not {"--help", "-h"} & {*sys.argv}:
        platforms.check_command(context.invoked_subcommand)
        check_command(context.invoked_subcommand)


for command in (
    build,
    tune,
    calibrate,
    quantize,
    export,
    verify,
    report,
    overlay,
    package,
    serve,
    verify_file,
    audit,
    inspect,
    models,
    doctor,
):
    app.command(epilog=EXIT_CODES)(command)
