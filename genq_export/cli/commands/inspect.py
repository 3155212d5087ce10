"""`genq-export inspect`"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from genq_export.cli.console import say, show
from genq_export.cli.options import Given, Json, with_options

if TYPE_CHECKING:
    from genq_export.data.evaluation import EvaluationSet
    from genq_export.data.raw import Reading
    from genq_export.data.reader import ImageSet
    from genq_export.models.loaded import LoadedModel

_MOST_SKIPPED = 20
_PIXELS = {
    True: "turned as the camera notes (EXIF)",
    False: "not turned by EXIF, as the network's own preprocessing does not",
}


@with_options("inspect")
def inspect(
    source: Annotated[Path, typer.Argument(help="Images: a folder, .tar shards or a Hugging Face data set.")],
    given: Given,
    model: Annotated[str | None, typer.Option("--model", help="Network whose classes the labels are.")] = None,
    classes: Annotated[Path | None, typer.Option("--classes", help="File with its class names.")] = None,
    use: Annotated[
        Literal["eval", "real", "calibration"],
        typer.Option("--use", help="What the images are for, as the option of that name takes them."),
    ] = "eval",
    as_json: Json = False,
) -> None:
    """What the reader makes of images: layout, labels and by which rule, and what is skipped."""
    from genq_export.data.raw import Reading
    from genq_export.data.reader import read_images

    network, reading = None if model is None and classes is None else _network(model, classes), Reading(use, **given)
    found = _judging(source, network, reading) or read_images(source, network, reading)
    assert found.account is not None
    say(f"{source}: {found.account.sentence}")
    show(account_table(found, network, use))
    if as_json:
        say(json.dumps({**asdict(found.account), "sentence": found.account.sentence}))


def _judging(source: Path, network: "LoadedModel | None", reading: "Reading") -> "EvaluationSet | None":
    """Images with boxes or masks; None for a network that is judged by the class of an image, and for other uses."""
    if network is None or reading.use != "eval":
        return None
    from genq_export.tasks.task import task_of

    task = task_of(network.task)
    return None if task.has_logits else task.read_evaluation_set(source, network, reading)


def account_table(found: "ImageSet | EvaluationSet", network: "LoadedModel | None", use: str) -> Table:
    """What was taken, as what, and what was not."""
    account = found.account
    assert account is not None
    table = Table(show_header=False)
    table.add_column("")
    table.add_column("")
    table.add_row("read as", account.layout)
    table.add_row("images", f"{account.images:,}")
    table.add_row("labels", _labels(found, network))
    for name, count in _largest(found, network):
        table.add_row("", f"{name}: {count:,}")
    table.add_row("pixels", _PIXELS[use != "eval"])
    for note in account.notes:
        table.add_row("note", note)
    for item in account.skipped[:_MOST_SKIPPED]:
        table.add_row("skipped", f"{item.name}: {item.reason}")
    if len(account.skipped) > _MOST_SKIPPED:
        table.add_row("skipped", f"and {len(account.skipped) - _MOST_SKIPPED:,} more")
    return table


def _network(model: str | None, classes: Path | None) -> "LoadedModel":
    """The classes that labels are looked for in."""
    from genq_export.config.model import ModelConfig
    from genq_export.core.errors import UserError
    from genq_export.models.source import with_classes

    if model is None:
        raise UserError("--classes names the classes of a network: give that with --model, too")
    if classes is not None and not classes.is_file():
        raise UserError(f"class-name file {classes} does not exist")
    return with_classes(ModelConfig(name=model, classes=classes))


def _labels(found: "ImageSet | EvaluationSet", network: "LoadedModel | None") -> str:
    if network is None:
        return "not looked at: give --model NAME, whose classes they are"
    return (found.account and found.account.labels) or "none"


def _largest(found: "ImageSet | EvaluationSet", network: "LoadedModel | None") -> list[tuple[str, int]]:
    """Images by class, the first ten of them."""
    import numpy as np

    if found.labels is None or network is None:
        return []
    numbers, counts = np.unique(found.labels, return_counts=True)
    names = network.class_names or tuple(map(str, range(network.classes)))
    rows = [(f"{number} {names[number]}", int(count)) for number, count in zip(numbers, counts, strict=True)]
    more = [("and other classes", len(rows) - 10)] if len(rows) > 10 else []
    return rows[:10] + more
