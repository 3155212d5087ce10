"""A network as data: a graph of operators over flat parts, run node by node.

`torch.fx` runs a graph by writing Python source from its names and executing it. A graph that comes from a file must
never reach that, so here `forward` walks the nodes itself. What is freshly quantized, what is loaded and what is folded
are all of this one class; only the float graph that `torch.export` captured, from a network already in memory, is an
`fx.GraphModule`.

The parts are members of the network itself, under names that `names.part_name` makes: modules that nodes call, and
constants. A `get_attr` node names a constant, or a tensor of a part: `quantizer_act1.scale`.
"""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from genq_export.core.errors import UserError, reason_of
from genq_export.network.arguments import INTEGER_OPERATORS, check_integers, operator_name
from genq_export.network.aten import attribute, module_path
from genq_export.network.names import is_name, part_name, split_tensor_name
from genq_export.network.outputs import Answer

_NAMING = ("call_module", "get_attr")  # kinds of nodes whose target names a part
_DAMAGE = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, RuntimeError)


class GraphNetwork(nn.Module):
    """float32 [B, C, H, W] -> what the output node names: one node, which is logits, or a dictionary of nodes.

    graph: one placeholder, `call_function`, `call_module` and `get_attr` nodes, one output. It may be rewritten at any
    time; nothing is compiled. source: the file that the network was read from; what cannot run there is a UserError
    that names it, as only a damaged file can hold that.
    """

    def __init__(self, graph: fx.Graph, parts: Mapping[str, nn.Module | Tensor], source: str | None = None) -> None:
        super().__init__()
        self.graph = graph
        self.source = source
        for name, part in parts.items():
            self._hold(name, part)

    def forward(self, x: Tensor) -> Answer:
        """Run every node in order; a value is dropped behind the last node that reads it."""
        values: dict[fx.Node, Any] = {}
        readers: dict[fx.Node, int] = {}
        for node in self.graph.nodes:
            if node.op == "output":
                given = node.args[0]
                if isinstance(given, fx.Node):
                    return values[given]  # type: ignore[no-any-return]
                return {name: values[part] for name, part in given.items()}
            values[node] = x if node.op == "placeholder" else self._run(node, values)
            readers[node] = len(node.users)
            for read in node.all_input_nodes:
                readers[read] -= 1
                if not readers[read]:
                    del values[read]
        raise AssertionError("a graph ends in an output")

    def add(self, name: str, part: nn.Module | Tensor) -> str:
        """Take in a part under `name`, with a number behind it where that is taken; returns the name it got."""
        free, number = name, 2
        while hasattr(self, free):
            free, number = f"{name}_{number}", number + 1
        self._hold(free, part)
        return free

    def replace(self, name: str, part: nn.Module) -> None:
        """Put another module in the place of one."""
        assert name in self._modules
        self._modules[name] = part

    def parts(self) -> dict[str, nn.Module | Tensor]:
        """Modules and constants that nodes call or read, by name, in the order of the nodes."""
        found = (split_tensor_name(str(node.target))[0] for node in self.graph.nodes if node.op in _NAMING)
        return {name: getattr(self, name) for name in dict.fromkeys(found)}

    def output_names(self) -> tuple[str, ...] | None:
        """Names of the outputs; None where it gives logits alone."""
        (output,) = self.graph.find_nodes(op="output")
        given = output.args[0]
        return None if isinstance(given, fx.Node) else tuple(given)

    def owner(self, node: fx.Node) -> nn.Module:
        """The part whose tensor a `get_attr` node names: the quantizer of a scale."""
        return self.get_submodule(split_tensor_name(str(node.target))[0])

    def over(self, graph: fx.Graph) -> "GraphNetwork":
        """A network over another graph of the same parts: a block of this one, or a copy to rewrite."""
        network = GraphNetwork(graph, {}, self.source)
        network.training = self.training
        for node in graph.nodes:
            if node.op in _NAMING:
                name = split_tensor_name(str(node.target))[0]
                if name not in network._modules and name not in network._buffers:
                    network._hold(name, getattr(self, name))
        return network

    def copy(self) -> "GraphNetwork":
        """A network of its own graph that shares the parts."""
        graph = fx.Graph()
        graph.output(graph.graph_copy(self.graph, {}))
        return self.over(graph)

    def remove_unused(self) -> None:
        """Drop nodes that nobody reads, and parts that no node names."""
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        used = self.parts()
        for name in [*self._modules, *self._buffers]:
            if name not in used:
                delattr(self, name)

    def _hold(self, name: str, part: nn.Module | Tensor) -> None:
        """Register a part; raises ValueError for a name that is none, or that something has."""
        if not is_name(name) or hasattr(self, name):
            raise ValueError(f"'{name}' cannot name a part of a network")
        if isinstance(part, nn.Module):
            self.add_module(name, part)
        else:
            self.register_buffer(name, part.detach())

    def _run(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        if node.op == "get_attr":
            return attribute(self, str(node.target))
        function: Any = getattr(self, str(node.target)) if node.op == "call_module" else node.target
        args = fx.node.map_arg(node.args, values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, values.__getitem__) if node.kwargs else {}
        if self.source is None:
            return function(*args, **kwargs)
        try:
            if function in INTEGER_OPERATORS:
                check_integers(function, args)
            return function(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except _DAMAGE as error:
            called = node.target if node.op == "call_module" else operator_name(node.target)
            raise UserError(f"{self.source}: node '{node.name}' cannot run {called}: {reason_of(error)}") from error


def from_captured(captured: fx.GraphModule) -> GraphNetwork:
    """The float network of a captured graph, its parameters and buffers as constants; tensors are shared.

    Raises:
        UserError: naming the operator, where a node holds a graph of its own (control flow, `torch.autocast`).
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(captured.graph, {}))
    network = GraphNetwork(graph, {})
    names: dict[int, str] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            found = operator.attrgetter(str(node.target))(captured)
            if not isinstance(found, Tensor):
                reader = next(iter(node.users), node)
                raise UserError(
                    f"operator '{operator_name(reader.target)}' of module '{module_path(reader) or reader.name}' holds"
                    " a graph of its own, which cannot be quantized"
                )
            if id(found) not in names:
                names[id(found)] = network.add(part_name("constant", str(node.target)), found)
            node.target = names[id(found)]
    return network
