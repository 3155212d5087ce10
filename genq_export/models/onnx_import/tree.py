"""Where the parts of an imported network stand, under names that the file gives them.

`layer1.0.conv1.weight` makes the layer `layer1.0.conv1`, and so does the node `/layer1/layer1.0/conv1/Conv`. Names come
from a stranger's file: what is no identifier is replaced, and nothing is ever put in the place of another part.
"""

import re

from torch import Tensor, nn

_LONGEST = 200


def layer_path(weight: str | None, node: str, kind: str) -> str:
    """The path of the module that a node becomes.

    Args:
        weight: name of its weight; None: it is no layer.
        node: its own name, which may be empty.
        kind: its operator.
    """
    if weight is not None and weight.endswith(".weight"):
        return weight.removesuffix(".weight")
    if node.startswith("/"):
        return _scope(node, layer=weight is not None)
    return node.replace(".", "_") or kind


def _scope(node: str, layer: bool) -> str:
    """`/blocks/blocks.0/blocks.0.1/fc/MatMul`, as torch's exporter writes it: `blocks.0.1.fc` where it is a layer."""
    *scopes, last = node.split("/")[1:]
    path = ""
    for part in scopes:
        path = part if part == path or part.startswith(f"{path}.") else f"{path}.{part}".lstrip(".")
    return path if layer and path else f"{path}.{last}".lstrip(".")


class Tree:
    """Places modules, parameters and buffers in a network."""

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._leaves: set[int] = set()

    def place(self, path: str, part: nn.Module | nn.Parameter | Tensor) -> str:
        """Put a part at a path, or near it where that is taken; returns where it is."""
        holder, folders, name = self._holder(path)
        taken, number = name, 2
        while hasattr(holder, taken):
            taken, number = f"{name}_{number}", number + 1
        if isinstance(part, nn.Module):
            self._leaves.add(id(part))
            holder.add_module(taken, part)
        elif isinstance(part, nn.Parameter):
            holder.register_parameter(taken, part)
        else:
            holder.register_buffer(taken, part)
        return ".".join((*folders, taken))

    def _holder(self, path: str) -> tuple[nn.Module, list[str], str]:
        """The module that shall hold the last name of a path; folders on the way are made."""
        parts = [_identifier(part) for part in path[-_LONGEST:].split(".") if part] or ["part"]
        holder, folders = self._root, list[str]()
        while len(parts) > 1:
            child = getattr(holder, parts[0], None)
            if child is None:
                child = nn.Module()
                holder.add_module(parts[0], child)
            if not isinstance(child, nn.Module) or id(child) in self._leaves:
                break
            folders.append(parts.pop(0))
            holder = child
        return holder, folders, "_".join(parts)


def _identifier(part: str) -> str:
    return re.sub(r"\W", "_", part, flags=re.ASCII)
