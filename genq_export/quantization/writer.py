"""Nodes that stand for another in a captured graph."""

from typing import Any

from torch import Tensor, fx

from genq_export.network.aten import attribute, module_path, new_constant


class Writer:
    """Puts nodes in front of one, with the shapes of what they give, as parts of its module."""

    def __init__(self, gm: fx.GraphModule, node: fx.Node) -> None:
        self._gm, self._node = gm, node

    @property
    def node(self) -> fx.Node:
        """What is rewritten."""
        return self._node

    def __call__(self, function: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A node that calls `function`."""
        made = self._gm.graph.call_function(function, args, kwargs)
        made.meta = {key: value for key, value in self._node.meta.items() if key == "nn_module_stack"}
        mode = self._node.meta["val"].fake_mode
        read: Any = fx.node.map_arg(args, self.value)
        named: Any = fx.node.map_arg(kwargs, self.value)
        with mode:
            made.meta["val"] = function(*read, **named)
        return made

    def value(self, node: fx.Node) -> Any:
        """Shape and type of what a node gives, as a fake tensor."""
        if "val" not in node.meta:
            node.meta["val"] = self._node.meta["val"].fake_mode.from_tensor(attribute(self._gm, str(node.target)))
        return node.meta["val"]

    def constant(self, name: str, value: Tensor) -> fx.Node:
        """A node for a new constant."""
        path = module_path(self._node).replace(".", "_")
        return new_constant(self._gm, f"{path}_{name}", value)

    def shape(self, node: fx.Node) -> list[int]:
        """Sizes, with -1 for the one that the batch decides."""
        return [size if isinstance(size, int) else -1 for size in self.value(node).shape]


def per_axis(sizes: Any, axes: int) -> list[int]:
    """`2` or `[2]` for two axes is `[2, 2]`: how ATen states a stride, a padding or a dilation."""
    listed = [*sizes] if isinstance(sizes, list | tuple) else [sizes]
    return listed * (axes // len(listed))
