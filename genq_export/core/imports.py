"""Make torchvision importable beside a CPU build of torch.

The torchvision wheel on PyPI carries CUDA operators. Beside a CPU torch its compiled library does not load, and its
import then stops at the first operator schema it misses, although nothing that this project (or timm, diffusers,
transformers) uses needs these operators: they are the box operators of detection networks.

`genq_export/__init__.py` installs the hook below, so that whatever imports torchvision afterwards finds the schemas.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_EXTENSION = "torchvision.extension"  # loads the compiled library, before anything asks for its operators
_NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def install_torchvision_hook() -> None:
    """Have the missing schemas declared as soon as torchvision has tried its library. Imports nothing itself."""
    if _EXTENSION in sys.modules:
        _declare_missing(sys.modules[_EXTENSION])
    elif not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ExtensionFinder())


class _ExtensionFinder(MetaPathFinder):
    """Finds `torchvision.extension` as usual, with a loader that goes on to declare what its library did not bring."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _EXTENSION:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeclaringLoader(spec.loader)
        return spec


class _DeclaringLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _declare_missing(module)


def _declare_missing(extension: Any) -> None:
    """Declare the operators that `torchvision` gives meta functions for when it is imported, unless they are there."""
    if extension._has_ops() or hasattr(extension, "genq_export_schemas"):
        return
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    fragment.define(f"nms{_NMS_SCHEMA}")
    fragment.define(f"qnms{_NMS_SCHEMA}")
    # It must outlive this call: torch drops the schemas when the Library object is collected.
    extension.genq_export_schemas = fragment
