"""`genq-export tune`"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from genq_export.cli.console import say, show
from genq_export.cli.options import ConfigFile, Given, Json, Model, Quiet, RunCode, Settings, Verbose, with_options
from genq_export.cli.resolve import new_build
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress

if TYPE_CHECKING:
    from genq_export.pipeline.tune.verdict import Tuned

# What candidates differ in; given, it would say nothing.
_DECIDED = ("bits", "weight_bits", "activation_bits", "average_bits", "size_budget", "sensitivity")


@with_options("build")
def tune(
    *,
    model: Model = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            help="Largest loss allowed: points of top-1; without labels nats of KL, without images dB of noise."
            " [default: 1 point, 0.05 nats, -20 dB]",
            show_default=False,
        ),
    ] = None,
    minimize: Annotated[
        Literal["latency", "size", "loss"], typer.Option("--minimize", help="What is to be small.")
    ] = "latency",
    budget: Annotated[
        float | None,
        typer.Option("--budget-minutes", min=0, help="When the search ends; the first build is always made."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder. [default: build/NAME-tuned-TARGET]")
    ] = None,
    config: ConfigFile = None,
    given: Given,
    settings: Settings = None,
    run_code: RunCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The best build of a network under conditions, found by building few of the many possible ones."""
    from genq_export.pipeline.tune.choice import Conditions
    from genq_export.pipeline.tune.run import tune as run

    _refuse_decided(given, settings or [])
    resolved = new_build("build", model, config, given, settings or (), run_code)
    for flag, value in (("--max-loss", max_loss), ("--budget-minutes", budget)):
        if value is not None and not math.isfinite(value):
            raise UserError(f"{flag}: a finite number is wanted, not {value}")
    title = resolved.folder_name.replace(f"-{resolved.quantize.grid_name.lower()}-", "-tuned-")
    folder = output or Path("build") / title
    conditions = Conditions(max_loss=max_loss, minimize=minimize)
    tuned = run(resolved, folder, conditions, budget, Progress(quiet, verbose))
    show(table(tuned))
    say(tuned.reason)
    say(f"picture: {folder / 'tune.html'}")
    if as_json:
        say(json.dumps({"folder": str(folder), "tuned": tuned.model_dump(mode="json")}))
    if tuned.verdict == "nearest":
        raise typer.Exit(1)


def _refuse_decided(given: dict[str, object], settings: list[str]) -> None:
    """Raise UserError for options that candidates differ in."""
    named = [f"--{name.replace('_', '-')}" for name in _DECIDED if name in given]
    fields = [f"quantize.{name}" for name in _DECIDED] + [f"quantize.mixed_precision.{name}" for name in _DECIDED]
    named += [f"--set {setting}" for setting in settings if setting.partition("=")[0] in fields]
    if named:
        raise UserError(f"{', '.join(named)}: `tune` chooses the bits; `genq-export build` takes them")


def table(tuned: "Tuned") -> Table:
    """The builds, those of the front marked."""
    found = Table(title=f"{tuned.model} for {tuned.target}", title_justify="left")
    for name in ("build", "loss", "times as fast", "times smaller", "front", "built in"):
        found.add_column(name)
    for outcome in tuned.outcomes:
        found.add_row(
            f"{outcome.name} (shipped)" if outcome.name == tuned.winner else outcome.name,
            f"{outcome.loss:.4g} {outcome.unit}",
            "not measured" if outcome.time_share is None else f"{1 / outcome.time_share:.2f}",
            f"{1 / outcome.size_share:.1f}",
            "yes" if outcome.name in tuned.front else "",
            f"{outcome.seconds:.0f} s",
        )
    return found
