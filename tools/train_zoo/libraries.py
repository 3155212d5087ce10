"""Import diffusers and transformers late, and untyped.

Late, because each takes seconds to import. Untyped, because they carry few annotations or wrong ones: the docstrings
of this package name the class that a function takes or returns.
"""

import importlib
from typing import Any

from genq_export.core.imports import ensure_torchvision


def diffusers() -> Any:
    """Return the module diffusers."""
    ensure_torchvision()
    return importlib.import_module("diffusers")


def transformers() -> Any:
    """Return the module transformers."""
    ensure_torchvision()
    return importlib.import_module("transformers")
