"""What a user is meant to see, and what goes wrong with one runtime while the others go on."""

from collections.abc import Callable, Iterable
from typing import Any


class UserError(Exception):
    """Bad input or a missing piece: one line that says what was wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingError(UserError):
    """Several things that a user can mend, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class BusyError(UserError):
    """Another build holds the folder."""


class BackendError(Exception):
    """A backend could not be loaded, crashed, hung or answered nonsense: one line that says which and why."""


class BackendDied(BackendError):
    """Its process crashed, was killed, or did not answer in time and was stopped."""


class BackendMissing(BackendError):
    """The runtime is not installed on this machine, or the machine lacks what it needs."""


def refuse(problems: Iterable[str]) -> None:
    """Raise MissingError with these, each once; nothing where there are none."""
    found = list(dict.fromkeys(problems))
    if found:
        raise MissingError(found)


def reason_of(error: BaseException) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def problems_of(check: Callable[..., object], *arguments: Any) -> list[str]:
    """What a check says that raises UserError where something is wrong; empty where nothing is."""
    try:
        check(*arguments)
    except UserError as error:
        return [str(error)]
    return []
