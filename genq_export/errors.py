"""The one error a user is meant to see."""


class UserError(Exception):
    """Bad input or a missing piece: one line that says what was wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class BusyError(UserError):
    """Another build holds the folder."""


def reason_of(error: BaseException) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
