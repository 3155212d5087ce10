"""What differs between Linux, macOS and Windows, in one place: everything else asks here."""

import select
import sys

from genq_export.core.errors import UserError

# Commands that run files in processes of their own, over pipes with a deadline.
_NEED_PROCESSES = ("build", "tune", "verify", "verify-file")


def can_isolate() -> bool:
    """Can a runtime be run in a process of its own here? It takes pipes that can be waited for: not on Windows."""
    return hasattr(select, "poll")


def check_isolation(what: str) -> None:
    """Raise UserError where `what` needs processes of its own and there can be none."""
    if not can_isolate():
        raise UserError(
            f"{what} needs Linux or macOS; on Windows run it in WSL; `load`, `audit` and a build's check/ run anywhere"
        )


def check_command(name: str) -> None:
    """The same of a command of `genq-export`."""
    if name in _NEED_PROCESSES:
        check_isolation(f"genq-export {name}")


def peak_memory_mib() -> float | None:
    """Most resident memory that this process has held, MiB; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
