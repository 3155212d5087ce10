"""Progress below a notebook's cell: one line each, drawn over in place, with no control characters for terminals."""

import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TypeVar

from genq_export.core.terminal import printable

Item = TypeVar("Item")
_EVERY = 0.2  # seconds between two drawings


def in_notebook() -> bool:
    """Does this run in a kernel of Jupyter, whose front end shows HTML? Imports nothing."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def without_hints() -> Iterator[None]:
    """Inside, libraries that are imported do not say in a red box that their own bars lack a package."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


def tracked(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    """Yield from `items`, showing below the cell how many of `total` are done and the time left."""
    from IPython.display import display

    started, drawn, done = time.perf_counter(), 0.0, 0
    handle = display(_drawing(label, 0, total, 0.0), raw=True, display_id=True)  # type: ignore[no-untyped-call]
    try:
        for item in items:
            yield item
            done += 1
            now = time.perf_counter()
            if now - drawn > _EVERY:
                handle.update(_drawing(label, done, total, now - started), raw=True)
                drawn = now
    finally:
        handle.update(_drawing(label, done, total, time.perf_counter() - started), raw=True)


def _drawing(label: str, done: int, total: int, seconds: float) -> dict[str, str]:
    """A bar and what is said beside it, as HTML and as text."""
    name = printable(label)
    if done >= total:
        said = f"{name}: {done} of {total}, {seconds:.1f} s"
        return {"text/plain": said, "text/html": f"<code>{escape(said)}</code>"}
    left = f", {seconds * (total - done) / done:.0f} s left" if done else ""
    said = f"{name}: {done} of {total}{left}"
    bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
    return {"text/plain": said, "text/html": f"{bar} <code>{escape(said)}</code>"}
