"""Printing to standard output: as wide as the terminal, or as the content where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import RenderableType

from genq_export.core.errors import UserError
from genq_export.core.terminal import PlainConsole, printable

_UNLIMITED = 100_000


def show(content: RenderableType) -> None:
    """Print a table or a text; a file or a pipe gets no line that was broken to fit a terminal."""
    console = PlainConsole()
    with written():
        _show(console, content)


def _show(console: PlainConsole, content: RenderableType) -> None:
    if not console.is_terminal:
        wide = console.options.update(width=_UNLIMITED, max_width=_UNLIMITED)
        console = PlainConsole(width=console.measure(content, options=wide).maximum)
    console.print(content)


def say(text: str) -> None:
    """Print lines as they are, but for what would steer a terminal."""
    with written():
        print(printable(text.removesuffix("\n")), flush=True)


@contextmanager
def written() -> Iterator[None]:
    """Inside, standard output is written to; raises UserError where it does not take what is written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot write to standard output: {error.strerror}") from None
