"""The one error a user is meant to see."""


class UserError(Exception):
    """Bad input or a missing piece: one line that says what was wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class BusyError(UserError):
    """Another build holds the folder."""
