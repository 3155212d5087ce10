"""What runs a file: one file a runtime. Reached by name; a name is a line of `config.registry.RUNTIMES`."""

from genq_export.config.registry import RUNTIMES
from genq_export.core.registry import find
from genq_export.runtimes.base import Runtime
from genq_export.runtimes.torch_modules import TITLES


def runtime(name: str) -> Runtime:
    """The runtime of this name.

    Raises:
        UserError: for a name that is not registered, with those that are.
    """
    found: Runtime = find(RUNTIMES, name, "runtime")
    return found


def runtimes() -> tuple[Runtime, ...]:
    """Every runtime that is registered, in that order."""
    return tuple(runtime(name) for name in RUNTIMES)


def runtime_titles() -> dict[str, str]:
    """Titles without a version, by the name in results: networks in torch in this process, and every runtime."""
    return TITLES | {item.name: item.title for item in runtimes()}
