"""What a person sees while a stage runs: bars with time left, and short lines."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from genq_export.core.notebook import in_notebook, tracked
from genq_export.core.terminal import PlainConsole, printable

Item = TypeVar("Item")
Write = Callable[[str, float | None], None]  # a line, and when it was said
_KEPT = 200  # lines that were said before there was a log


class Progress:
    """Prints to standard error, so that standard output stays for results; in a notebook, below the cell.

    `quiet` silences everything but errors; `verbose` adds the lines given to `detail`.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self._console = PlainConsole(stderr=True, quiet=quiet)
        self._quiet, self._verbose = quiet, verbose
        self._early: deque[tuple[str, float]] = deque(maxlen=_KEPT)
        self._write: Write | None = None

    def say(self, message: str) -> None:
        """One line about what happens now."""
        self._note(message)
        self._print(message)

    def detail(self, message: str) -> None:
        """One line for those who asked for more (`-v`), and for the log."""
        self._note(message)
        if self._verbose:
            self._print(message)

    @contextmanager
    def copied_to(self, write: Write) -> Iterator[None]:
        """Inside, every line goes to `write`, too, printed or not; first those that were said before."""
        before, self._write = self._write, write
        while self._early:
            write(*self._early.popleft())
        try:
            yield
        finally:
            self._write = before

    def _note(self, message: str) -> None:
        if self._write is not None:
            self._write(message, None)
        else:
            self._early.append((message, time.time()))

    def _print(self, message: str) -> None:
        if in_notebook():
            if not self._quiet:
                print(printable(message))  # standard error is red there
            return
        # A file or a pipe gets whole lines.
        self._console.print(message, soft_wrap=not self._console.is_terminal)

    def track(self, items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
        """Yield from `items`, showing how many of `total` are done and the time left; a log gets one line."""
        started, done = time.perf_counter(), 0
        try:
            for item in self._shown(items, total, label):
                yield item
                done += 1
        finally:
            self._note(f"{label}: {done} of {total} in {time.perf_counter() - started:.1f} s")

    def _shown(self, items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
        """Yield from `items` with a bar."""
        if in_notebook():
            yield from items if self._quiet else tracked(items, total, label)
            return
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
