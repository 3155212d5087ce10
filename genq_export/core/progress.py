"""What a person sees while a stage runs: bars with time left, and short lines."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from genq_export.core.terminal import PlainConsole, printable

Item = TypeVar("Item")


class Progress:
    """Prints to standard error, so that standard output stays for results.

    `quiet` silences everything but errors; `verbose` adds the lines given to `detail`.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self._console = PlainConsole(stderr=True, quiet=quiet)
        self._verbose = verbose

    def say(self, message: str) -> None:
        """One line about what happens now."""
        # A log file or a pipe gets whole lines.
        self._console.print(message, soft_wrap=not self._console.is_terminal)

    def detail(self, message: str) -> None:
        """One line for those who asked for more (`-v`)."""
        if self._verbose:
            self.say(message)

    def track(self, items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
        """Yield from `items`, showing how many of `total` are done and the time left."""
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console, transient=not self._verbose) as bars:
            yield from bars.track(items, total=total, description=printable(label))
