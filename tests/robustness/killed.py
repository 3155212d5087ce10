"""Processes that die at a chosen moment: right before the operating system would do the n-th thing to a folder.

Python tells audit hooks of every file that it opens, renames or removes before it does so, so a moment is chosen by
what the program does, and nothing of it is replaced.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_EVENTS = {"open": 0, "os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0}  # and which argument is the path
Watch = Callable[[str, str], None]


def watch(folder: Path, seen: Watch) -> None:
    """Call `seen(event, name)` before every change below a folder, as long as the process lives."""
    home = str(folder.resolve())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _EVENTS or (event == "open" and not _writes(arguments)):
            return
        path = arguments[_EVENTS[event]]
        if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(f"{home}/"):
            seen(event, os.path.relpath(path, home))

    sys.addaudithook(hook)


def die() -> None:
    """As when the power fails: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(folder: Path, number: int) -> None:
    """Die right before the `number`-th change below a folder, counted from 0."""
    seen = 0

    def count(event: str, name: str) -> None:
        nonlocal seen
        if seen == number:
            die()
        seen += 1

    watch(folder, count)


def in_child(work: Callable[[], None]) -> int:
    """Do it in a forked process; returns its exit code, -9 where it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def changes(folder: Path, work: Callable[[], None]) -> list[tuple[str, str]]:
    """What the work does to a folder, in its order, as (event, name); done in a process of its own."""
    ours, theirs = os.pipe()

    def watched() -> None:
        watch(folder, lambda event, name: _tell(theirs, f"{event}\t{name}\n"))
        work()

    code = in_child(watched)
    os.close(theirs)
    with os.fdopen(ours) as told:
        found = [tuple(line.rstrip("\n").split("\t")) for line in told]
    assert code == 0, code
    return [(event, name) for event, name in found]


def _tell(descriptor: int, line: str) -> None:
    os.write(descriptor, line.encode())


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
