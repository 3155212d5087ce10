"""Words for a cell of a table that break into lines between phrases and nowhere else."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text


class Phrases:
    """Phrases one after another; where they do not fit a line, the next line begins with a whole one."""

    def __init__(self, phrases: Sequence[str], style: str = "") -> None:
        self._phrases, self._style = phrases, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One text a line, as wide as the console allows and its phrases need."""
        for line in self._lines(options.max_width):
            yield Text(line, self._style, no_wrap=True, overflow="ignore")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From the longest phrase to all of them on one line."""
        longest = max(map(len, self._phrases), default=0)
        return Measurement(longest, len(" ".join(self._phrases))).clamp(max_width=options.max_width)

    def _lines(self, width: int) -> list[str]:
        lines: list[str] = []
        for phrase in self._phrases:
            if lines and len(lines[-1]) + 1 + len(phrase) <= width:
                lines[-1] += f" {phrase}"
            else:
                lines.append(phrase)
        return lines
