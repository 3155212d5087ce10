"""Text of users and files as a terminal may have it: what steers a terminal is shown instead, and nothing is markup.

Names of layers, folders, tensors and members of archives come from files of anybody's. `[red]` in one is a name, and an
escape sequence in one would write over lines that were printed before.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_LONGEST = 900  # letters of one line that says what is wrong
_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories: controls, directions, half pairs, line separators
_JOINERS = {"\u200c", "\u200d"}  # of the categories above, but part of words in some scripts and of emoji


def printable(text: str) -> str:
    """Return text in which everything that steers a terminal is written as an escape, `\\x1b`; new lines stay."""
    return "".join(sign if _is_harmless(sign) else sign.encode("unicode_escape").decode() for sign in text)


def one_line(text: str) -> str:
    """Return `printable` text on one line, of a length that can be read: its middle is left out where it is longer."""
    line = " ".join(printable(text.strip()).replace("\t", " ").replace("\n", "\\n").split())
    if len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST // 2]}…{line[-_LONGEST // 2 + 1 :]}"


def _is_harmless(sign: str) -> bool:
    return sign in "\n\t" or sign in _JOINERS or unicodedata.category(sign) not in _STEERING


class PlainConsole(Console):
    """A console of rich for which text is text: no markup, no emoji codes, nothing that steers the terminal."""

    def __init__(self, stderr: bool = False, quiet: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, quiet=quiet, width=width, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """The reader has gone: the program may say so of its results; of its progress nobody need hear."""
        self.quiet = True
        if not self.stderr:
            raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does with every string that it is given, in tables as well."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does with everything that it prints: texts that were put together elsewhere come by here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
