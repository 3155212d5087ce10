"""Printing to standard output: as wide as the terminal, or as the content where there is none."""

from rich.console import Console, RenderableType

_UNLIMITED = 100_000


def show(content: RenderableType) -> None:
    """Print a table or a text; a file or a pipe gets no line that was broken to fit a terminal."""
    console = Console()
    if not console.is_terminal:
        wide = console.options.update(width=_UNLIMITED, max_width=_UNLIMITED)
        console = Console(width=console.measure(content, options=wide).maximum)
    console.print(content)
