"""One bad input: what is made of it in an empty folder, which command meets it there, and what it must say."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.robustness.small_build import export_small
from tests.robustness.tamper_table import make_folder


@dataclass(frozen=True)
class Stock:
    """What rows begin with, made at its first use and copied: never changed. Some seconds each.

    home: where it is made.
    """

    home: Path

    @cached_property
    def build(self) -> Path:
        """A quantized and exported build of the embedded ResNet."""
        return export_small(self.home)

    @cached_property
    def folder(self) -> Path:
        """One of everything that a build folder holds, with models of text."""
        return make_folder(self.home / "folder").folder


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
    many things are wrong at once. memory: bytes of address space that it may take beyond what it begins with.
    slow: takes seconds, so that
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
    memory: int | None = None
    slow: bool = False

    @property
    def title(self) -> str:
        """As a test calls it."""
        return f"{self.kind}: {self.name}"
