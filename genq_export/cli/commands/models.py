"""`genq-export models`"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from genq_export.cli.console import say, show
from genq_export.cli.options import Json

if TYPE_CHECKING:
    from genq_export.models.door import Offer

_MOST_OFFERS = 40  # of one door


def models(search: Annotated[str, typer.Argument(help="Part of a name.")] = "", as_json: Json = False) -> None:
    """Networks that can be built here: by name, and in which forms networks of your own are given."""
    offers = _offers(search)
    show(models_table(search, offers))
    if as_json:
        say(json.dumps([asdict(offer) for door in offers for offer in door]))


def _offers(search: str) -> "list[list[Offer]]":
    """Of every door, all of them."""
    from genq_export.models.source import all_doors

    return [door.offers(search) for door in all_doors()]


def models_table(search: str, doors: "list[list[Offer]]") -> Table:
    """What every door for networks offers whose name contains `search`, with where its weights come from."""
    table = Table(caption_justify="left")
    for column in ("name", "weights", "calibration generator"):
        table.add_column(column)
    more = 0
    for offers in doors:
        for offer in offers[:_MOST_OFFERS]:
            table.add_row(offer.name, offer.weights, offer.generator)
        more += len(offers[_MOST_OFFERS:])
    table.caption = (
        f"and {more} more" if more > 0 else "" if search else "timm's networks: genq-export models PART_OF_NAME"
    )
    return table
