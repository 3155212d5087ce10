"""`genq-export verify-file`"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from genq_export.cli.console import say, show
from genq_export.cli.options import Json, Quiet, Verbose
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress

if TYPE_CHECKING:
    from runtime_tests.qdq_file.inputs import Pixels
    from runtime_tests.qdq_file.result import FileVerification, QuantizerFidelity, RuntimeFidelity

_SHOWN = 10  # quantizers, and layers, of a runtime


def verify_file(
    file: Annotated[Path, typer.Argument(help="A QDQ ONNX file of any tool.")],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="A folder of pictures. [default: random numbers]", show_default=False),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Runs at most, each of as many images as the file takes.")
    ] = 8,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape", metavar="[NAME=]1,3,224,224", help="Sizes of an input, where they are free. Repeatable."
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            "--mean", help="Of pixels in [0, 1], a channel each. [default: the range of the input's quantizer]"
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option("--std", help="Of pixels in [0, 1]; with --mean.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random numbers.")] = 0,
    exact_sums: Annotated[
        bool,
        typer.Option(
            "--exact-sums",
            help="ONNX Runtime with session.x64quantprecision=1: 8-bit sums that saturate without VNNI do not then.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Does a runtime compute what a QDQ file says? Every code against the file's own graph in float.

    Exit code 1 where codes differ and no experiment explains it.
    """
    from runtime_tests.qdq_file.run import EXACT, RUNTIMES, Wish
    from runtime_tests.qdq_file.run import verify_file as verify

    pixels = _pixels(mean, std)
    if pixels is not None and images is None:
        raise UserError("--mean and --std say what pixels stand for: give --images, too")
    wish = Wish(images, pixels, runs, seed, dict(map(_shape, shape or ())))
    found = verify(file, wish, Progress(quiet, verbose), EXACT if exact_sums else RUNTIMES)
    show(table(found))
    for line in lines(found):
        say(line)
    if as_json:
        say(json.dumps({"unexplained": found.unexplained, **found.model_dump(mode="json")}))
    if found.unexplained:
        raise typer.Exit(1)


def _pixels(mean: str | None, std: str | None) -> "Pixels | None":
    from runtime_tests.qdq_file.inputs import Pixels

    if (mean is None) != (std is None):
        raise UserError("--mean and --std go together: give both")
    if mean is None or std is None:
        return None
    pixels = Pixels(_numbers("--mean", mean), _numbers("--std", std))
    if len(pixels.mean) != len(pixels.std) or 0 in pixels.std:
        raise UserError("--mean and --std: as many numbers in both, and no std of 0")
    return pixels


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{flag}: numbers with commas are wanted, such as 0.5,0.5,0.5, not {text}") from None


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    parts = sizes.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--shape: sizes with commas are wanted, such as 1,3,224,224, not {text}")
    return name, tuple(map(int, parts))


def table(found: "FileVerification") -> Table:
    """One row a runtime: codes, where they differ first, outputs, layers."""
    made = f", {found.producer}" if found.producer else ""
    title = (
        f"{found.file}: {found.quantizers} quantizers, opset {found.opset}{made}; {found.runs} runs on {found.source}"
    )
    drawn = Table(title=title, title_justify="left", caption=f"reference: {found.reference}", caption_justify="left")
    for column in ("runtime", "codes that differ", "first", "outputs", "integer layers"):
        drawn.add_column(column)
    for item in found.runtimes:
        if item.problem is None:
            outputs = "; ".join(
                f"{part.name} {_decibels(part.sqnr_db)}"
                + (f", {100 * part.agreement:.1f} % the same answers" if part.agreement is not None else "")
                for part in item.outputs
            )
            layers = item.layers
            integer = "not told" if layers is None else f"{sum(part.integer for part in layers)} of {len(layers)}"
            drawn.add_row(item.title, f"{item.differing:,} of {item.codes:,}", item.first or "none", outputs, integer)
        else:
            drawn.add_row(item.title, "not run", "", item.problem, "")
    return drawn


def _decibels(value: float) -> str:
    return "equal" if value >= 300 else f"{value:.1f} dB"


def lines(found: "FileVerification") -> Iterator[str]:
    """Where and why codes differ, which layers are float, and what it comes to."""
    for item in found.runtimes:
        yield from _reasons(item)
        floats = [layer for layer in item.layers or () if not layer.integer]
        yield from _some(f"{item.title}: float layer {layer.name} ({layer.op}): {layer.detail}" for layer in floats)
    yield from (f"note: {note}" for note in found.notes)
    ran = [item for item in found.runtimes if item.problem is None]
    if not ran:
        yield "no runtime took the file"
    elif found.unexplained:
        yield "codes differ, and not every difference is explained"
    elif any(item.differing or item.unseen_runs for item in ran):
        yield "codes differ; every difference is explained"
    else:
        yield "every code is what the file says"


def _reasons(item: "RuntimeFidelity") -> Iterator[str]:
    own = [part for part in item.quantizers if part.by_itself]
    yield from _some(f"{item.title}: {_reason(part)}" for part in own)
    inherited = sum(1 for part in item.quantizers if part.differing and not part.by_itself)
    if inherited:
        yield f"{item.title}: {inherited} quantizers differ only because those in front of them do"
    if item.unseen_runs:
        why = item.unseen or "unexplained"
        yield f"{item.title}: outputs of {item.unseen_runs} runs differ though every code that is read is equal: {why}"
    unsure = item.unseen_runs > 0 and item.unseen is None
    if unsure or any(part.unexplained for part in own):
        evidence = [*(line for part in own if part.unexplained for line in part.evidence[:_SHOWN]), *item.evidence]
        yield from _some(f"  {line}" for line in evidence)


def _reason(part: "QuantizerFidelity") -> str:
    codes, largest = (part.own, part.own_largest) if part.own else (part.clean, part.largest)
    what = f"{part.tensor} ({part.operator})" if part.operator else part.tensor
    why = part.explanation or "unexplained"
    return f"{what} differs by itself in {codes:,} of {part.codes:,} codes, by up to {largest}: {why}"


def _some(told: Iterator[str]) -> Iterator[str]:
    rows = list(told)
    yield from rows[:_SHOWN]
    if len(rows) > _SHOWN:
        yield f"  and {len(rows) - _SHOWN} more (--json has them all)"
