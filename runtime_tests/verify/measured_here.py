"""Which runs this machine measured itself: remembered outside every build folder, where no stranger's folder reaches.

A run is known by the digest of all that it says; an empty file of that name stands below `XDG_STATE_HOME`.
"""

import hashlib
import os
import platform
from pathlib import Path

from genq_export.core.workspace import write_atomic
from runtime_tests.verify.results import Verification

_FOLDER = ("genq-export", "measured")


def remember(run: Verification) -> None:
    """Note that this machine measured the run.

    Raises:
        UserError: The note cannot be written.
    """
    write_atomic(_folder() / _digest(run), b"")


def is_measured_here(run: Verification) -> bool:
    """Did this machine measure the run, and nobody change a figure of it since?

    A home folder may be shared: a run of a machine of another name is none of this one.
    """
    try:
        return run.machine.name == machine_name() and (_folder() / _digest(run)).is_file()
    except OSError:
        return False


def machine_name() -> str:
    """As runs state it."""
    return platform.node() or "unnamed"


def _folder() -> Path:
    """By the XDG base directory specification, which has a relative path ignored."""
    given = os.environ.get("XDG_STATE_HOME", "")
    home = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return home.joinpath(*_FOLDER)


def _digest(run: Verification) -> str:
    """Of the run as data. What is as it is by default is left out, so that a field added later changes nothing."""
    return hashlib.sha256(run.model_dump_json(exclude_defaults=True).encode()).hexdigest()
