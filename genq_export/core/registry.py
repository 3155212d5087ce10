"""Parts that are chosen by name: a registry holds import paths, and one is resolved when it is used.

So a table of names may lie below the parts that it names, and nothing is imported that a build does not use.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from genq_export.core.errors import UserError


def resolve(path: str) -> Any:
    """Import what `package.module:name` names.

    Args:
        path: import path of a module and a name in it, from a registry of this package, never from a file.
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def find(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """The part of a registry that has this name.

    Args:
        registry: import paths by name.
        name: as the user or a config gives it.
        kind: what an error calls such a part, `target`.

    Raises:
        UserError: for a name that is not there, with those that are.
    """
    check_name(registry, name, kind)
    return resolve(registry[name])


def check_name(registry: Mapping[str, str], name: str, kind: str) -> str:
    """Return `name`; raise UserError where the registry has none such."""
    if name in registry:
        return name
    near = difflib.get_close_matches(name, registry, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(f"{kind} '{name}' is not known{hint}: give one of {', '.join(registry)}")


def module_of(path: str) -> str:
    """The module that an import path names: what a fingerprint of the part is taken from."""
    return path.partition(":")[0]
