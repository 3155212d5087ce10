"""The command line as a process: its streams, its signals, and the exit code of every way to end.

Exit codes: 0 done and passed; 1 a gate failed (everything is written all the same) or a build folder was changed; 2 bad
input or something missing; 130 stopped by the user. Nothing heavy is imported here: Ctrl-C while the commands are
imported ends like any other.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

BAD_INPUT, STOPPED, NO_READER = 2, 130, 141
_AGAIN = 2.0  # seconds that a stop may be overlooked, or that tidying up may take
_HAS_TIMER = hasattr(signal, "setitimer")  # not on Windows, where a stop that is swallowed has to be repeated
Program = Callable[..., object]


def main(program: Program | None = None) -> None:
    """Entry point: what a user can mend becomes one line each and exit code 2.

    Args:
        program: of typer's; another than ours is given by tests only.
    """
    _open_streams()
    if not sys.warnoptions:  # what libraries tell developers: a build's log has it, `python -W` shows it
        warnings.simplefilter("default")
        warnings.showwarning = _nowhere
    stops: list[int] = []
    with _noted(stops):
        try:
            code: int | None = _run(program)
        except BaseException as error:
            _again(0)
            code = _explained(error, bool(stops))
            if code is None:
                raise
    sys.exit(code)


def _nowhere(*said: object, **more: object) -> None:
    """Show a warning to nobody."""


def _run(program: Program | None) -> int:
    if program is None:
        from genq_export.cli.program import app

        program = app
    before = _output()
    try:
        code = program(standalone_mode=False, prog_name="genq-export")  # the code of `typer.Exit` comes back as a value
    except SystemExit:
        if _output() == before:
            raise
        raise BrokenPipeError from None  # typer and rich end so where the reader has gone, and lead output elsewhere
    if code == STOPPED:
        raise KeyboardInterrupt
    from genq_export.cli.console import written

    with written():
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _explained(error: BaseException, stopped: bool) -> int | None:
    """Say what has ended the program and return the exit code; None where it is a fault of ours, or an exit."""
    if stopped or isinstance(error, KeyboardInterrupt):  # an import that is stopped may end in any other error
        _say("stopped; the same command goes on from here")
        return STOPPED
    if not isinstance(error, Exception):
        return None
    if isinstance(error, BrokenPipeError):
        _forget(1)
        return NO_READER
    from genq_export.cli import errors

    lines = errors.lines(error)
    _let_go_of_output()
    for line in lines:
        _say(f"error: {line}")
    return BAD_INPUT if lines else None


def _output() -> tuple[int, int, int]:
    """What tells one standard output from another: the stream, and where its descriptor leads."""
    place = os.fstat(1)
    return id(sys.stdout), place.st_dev, place.st_ino


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # nobody can be told
        _forget(2)


def _open_streams() -> None:
    """What is closed leads nowhere: a file opened under its number would be written to. Any letter can be printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the smallest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  for as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_output() -> None:
    """What cannot be printed is lost; the interpreter would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget(1)


def _forget(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _again(seconds: float) -> None:
    """Raise the stop every so many seconds; 0: no more."""
    if _HAS_TIMER:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


@contextmanager
def _noted(stops: list[int]) -> Iterator[None]:
    """Inside, Ctrl-C is noted beside the KeyboardInterrupt that it raises.

    Libraries may turn that into another error, or swallow it while they are imported: it is raised again and again
    until the program ends. Where the interpreter swallows it, it would print a traceback.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        _again(_AGAIN)
        raise KeyboardInterrupt

    def swallowed(found: "sys.UnraisableHookArgs") -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            hook(found)

    hook = sys.unraisablehook
    before = signal.getsignal(signal.SIGINT)
    if before not in (signal.default_int_handler, signal.SIG_DFL):  # ignored, as below `nohup`
        yield
        return
    signal.signal(signal.SIGINT, stop)
    if _HAS_TIMER:
        signal.signal(signal.SIGALRM, stop)
    sys.unraisablehook = swallowed
    try:
        yield
    finally:
        _again(0)
        if _HAS_TIMER:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook
