"""`build.log` in a build folder: what its commands said and when, also with `--quiet`.

With versions, warnings of libraries, and tracebacks of faults of ours. No stage lists it among its files: it is in no
hash, and two builds of the same bytes have other logs. It is made of text alone, and is never followed through a link.
"""

import os
import platform
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from genq_export.core.errors import UserError, reason_of
from genq_export.core.progress import Progress
from genq_export.core.secrets import without_secrets
from genq_export.core.terminal import printable
from genq_export.core.workspace import LOG_FILE, Workspace, package_versions

_HEADER = "# build.log of genq-export: times in UTC; no stage reads it\n"
_LONGEST = 1 << 20  # bytes; a log that is longer begins anew


class BuildLog:
    """A log that is open. A line that cannot be written is lost: the build itself meets the full disk soon enough."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._lock = file, threading.Lock()

    def write(self, text: str, when: float | None = None) -> None:
        """Append lines with the time of now, or of `when` (seconds since 1970)."""
        moment = datetime.fromtimestamp(time.time() if when is None else when, UTC)
        first, *others = printable(without_secrets(text)).rstrip("\n").split("\n")
        lines = [
            f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z  {first}",
            *(f"  {it}" for it in others),
        ]
        with self._lock, suppress(OSError, ValueError):
            self._file.write("".join(f"{line}\n" for line in lines))
            self._file.flush()


@contextmanager
def logged(workspace: Workspace, progress: Progress, work: str) -> Iterator[None]:
    """Inside, what `progress` is given to say, warnings, and how the work ends go into the folder's log.

    Args:
        workspace: locked by the caller.
        progress: what it said before stands in the log, too, with its time.
        work: one line: what begins.

    Raises:
        UserError: where `build.log` is a link or a folder.
    """
    place = workspace.path(LOG_FILE)
    if not _is_ours(place):
        progress.say(f"note: {place} is not of genq-export and stays as it is; no log is kept")
        yield
        return
    with _opened(place) as file:
        log = BuildLog(file)
        versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
        log.write(f"{work}\n{versions}\n{platform.machine()} {platform.system()}, {os.cpu_count()} cores")
        started = time.perf_counter()
        with progress.copied_to(log.write), _warnings_to(log.write), _end_in(log, started):
            yield


@contextmanager
def _end_in(log: BuildLog, started: float) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        log.write(f"error: {error}")
        raise
    except KeyboardInterrupt:
        log.write("stopped")
        raise
    except Exception as error:
        log.write(f"a fault: {reason_of(error)}\n{traceback.format_exc()}")
        raise
    log.write(f"done in {time.perf_counter() - started:.1f} s")


def _is_ours(place: Path) -> bool:
    """Nothing, an empty file, or a log of ours."""
    if not place.is_file():
        return not place.exists()
    with open(place, "rb") as file:
        return file.read(len(_HEADER)) in (b"", _HEADER.encode())


@contextmanager
def _opened(place: Path) -> Iterator[TextIO]:
    """To append to; anew where there is none or it has become long."""
    goes_on = place.is_file() and 0 < place.stat().st_size < _LONGEST
    with open(
        place, "a" if goes_on else "w", encoding="utf-8", errors="backslashreplace", opener=_without_links
    ) as file:
        if not goes_on:
            file.write(_HEADER)
        yield file


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # Windows has no such flag


@contextmanager
def _warnings_to(write: Callable[[str], None]) -> Iterator[None]:
    """Inside, warnings that are shown are written down, too, each text once."""
    shown, seen = warnings.showwarning, set[str]()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"warning: {category.__name__}: {message}"
        if text not in seen:
            seen.add(text)
            write(f"{text} ({filename}:{lineno})")
        shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
