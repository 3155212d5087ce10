"""One bad input: what is made of it in an empty folder, which command meets it there, and what it must say."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.robustness.small_build import export_small
from tests.robustness.tamper_table import make_folder


@dataclass(frozen=True)
class Stock:
    """What rows begin with, made once and copied: never changed.

    build: a quantized and exported build of the embedded ResNet. folder: one of everything that a build folder holds,
    models of text. images: 40 labelled images.
    """

    build: Path
    folder: Path
    images: Path


def make_stock(home: Path) -> Stock:
    """Make it below a new folder; takes some seconds."""
    return Stock(export_small(home), make_folder(home / "folder").folder, home / "images")


def nothing(home: Path, stock: Stock) -> None:
    """The arguments alone are bad."""


Make = Callable[[Path, Stock], None]


@dataclass(frozen=True)
class Row:
    """One bad input.

    kind: what it is an example of; every example of a kind is mended in one place. name: which example. argv: of
    `genq-export`, with the folder of the row as current one. says: a part of the line that names what is wrong. make:
    puts the input into that folder. code: the exit code; 0 where only what is printed could be harmful. environment:
    variables that are set for it. lines: how
    many things are wrong at once. slow: takes seconds, so that
    `make test` leaves it out; of all others the first of each kind is in it.
    """

    kind: str
    name: str
    argv: tuple[str, ...]
    says: str
    make: Make = nothing
    code: int = 2
    environment: dict[str, str] = field(default_factory=dict)
    lines: int = 1
    slow: bool = False

    @property
    def title(self) -> str:
        """As a test calls it."""
        return f"{self.kind}: {self.name}"
