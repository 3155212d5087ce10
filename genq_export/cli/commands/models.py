"""`genq-export models`"""

from typing import Annotated

import typer
from rich.table import Table

from genq_export.cli.console import show

_MOST_OFFERS = 40  # of one door


def models(search: Annotated[str, typer.Argument(help="Part of a name.")] = "") -> None:
    """Networks that can be built here: by name, and in which forms networks of your own are given."""
    show(models_table(search))


def models_table(search: str) -> Table:
    """What every door for networks offers whose name contains `search`, with where its weights come from."""
    from genq_export.models.source import all_doors

    table = Table(caption_justify="left")
    for column in ("name", "weights", "calibration generator"):
        table.add_column(column)
    more = 0
    for door in all_doors():
        offers = door.offers(search)
        for offer in offers[:_MOST_OFFERS]:
            table.add_row(offer.name, offer.weights, offer.generator)
        more += len(offers[_MOST_OFFERS:])
    table.caption = (
        f"and {more} more" if more > 0 else "" if search else "timm's networks: genq-export models PART_OF_NAME"
    )
    return table
