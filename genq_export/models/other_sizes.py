"""A network for images of another size than the one it was loaded for.

Most networks take any tensor that goes through them. One that was made of a file for one size has a twin for others.
"""

from copy import copy
from typing import Any, Protocol, runtime_checkable

from torch import nn

Size = tuple[int, int, int]


@runtime_checkable
class MadeForSize(Protocol):
    """A module whose operators were written for one size of images."""

    free_axes: tuple[bool, bool]

    def for_size(self, size: Size) -> nn.Module:
        """The same network for another size (channels, height, width), with the same weights."""


def for_size(module: nn.Module, size: Size) -> nn.Module:
    """The network for images of (channels, height, width); itself where it takes them as it is.

    Raises:
        UserError: where it cannot be made for this size.
    """
    if isinstance(module, MadeForSize):
        return module.for_size(size)
    children = {name: for_size(child, size) for name, child in module.named_children()}
    if all(made is getattr(module, name) for name, made in children.items()):
        return module
    twin: Any = copy(module)
    twin._modules = {**module._modules, **children}
    return twin  # type: ignore[no-any-return]


def free_axes(module: nn.Module) -> tuple[bool, bool]:
    """May the height and the width of images differ, as far as what the network was made of says?"""
    made = [part.free_axes for part in module.modules() if isinstance(part, MadeForSize)]
    return all(height for height, _ in made), all(width for _, width in made)
