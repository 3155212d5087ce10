"""A quantized network on disk: JSON for the structure, safetensors for the tensors. Reading it runs nothing foreign.

The structure lists nodes in order: operators by their names in a written list, parts by a `spec()` that rebuilds them,
tensors by their name in the safetensors file. Everything is checked before anything is built, and an interpreter runs
what was read: no name of a file ever reaches Python source.

By hand and not by a library, because every format for graphs that torch has unpickles, or evaluates strings.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, fx, nn

from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError, reason_of
from genq_export.core.workspace import write_atomic
from genq_export.network.allowed_operators import DTYPES
from genq_export.network.arguments import check_arguments, is_allowed, operator_called, operator_name
from genq_export.network.aten import module_path
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import is_name, scale_name, split_tensor_name, tensor_name
from genq_export.network.outputs import MOST_OUTPUTS, is_output_name
from genq_export.network.specs import Spec

GRAPH_VERSION = 3
_DEEPEST = 3  # lists of lists of arguments
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class NodeRecord(Spec):
    """One node. args, kwargs: `{"node": NAME}` is what another node gives, `{"dtype": NAME}` an element type.

    The argument of the output may be `{"outputs": {NAME: {"node": NAME}, …}}`: tensors by name.
    """

    name: str
    op: Literal["placeholder", "get_attr", "call_function", "call_module", "output"]
    target: str
    args: list[Any]
    kwargs: dict[str, Any]


class Document(Spec):
    """The structure of a network. modules: a `spec()` by the name of the part."""

    version: int
    modules: dict[str, dict[str, Any]]
    nodes: list[NodeRecord]


def write_graph(network: GraphNetwork, tensors: Path, structure: Path) -> None:
    """Write a network whose modules all have `spec()` and `check()`; each file appears whole or not at all.

    Raises:
        UserError: naming the operator and its module, where the graph holds one that is not on the list.
    """
    check_storable(network)
    parts = network.parts()
    modules: dict[str, Any] = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    loose = {name: part.detach().clone().contiguous() for name, part in parts.items() if isinstance(part, Tensor)}
    held = {
        tensor_name(name, key): tensor.contiguous()
        for name, part in modules.items()
        for key, tensor in part.state_dict().items()
    }
    document = Document(
        version=GRAPH_VERSION,
        modules={name: part.spec().model_dump() for name, part in modules.items()},
        nodes=[_encode_node(node) for node in network.graph.nodes],
    )
    write_atomic(tensors, save({**held, **loose}))
    write_atomic(structure, (json.dumps(document.model_dump(), indent=1) + "\n").encode())


def check_storable(network: GraphNetwork) -> None:
    """Raise UserError naming operator and module where the graph holds an operator that no file may hold."""
    for node in network.graph.nodes:
        if node.op != "call_function":
            continue
        name = operator_name(node.target)
        where = f"operator '{name}' of module '{module_path(node) or node.name}'"
        if not is_allowed(name):
            raise UserError(f"the network cannot be stored: {where} is not among those that a build folder may hold")
        try:
            check_arguments(name, node.args, node.kwargs)
        except TypeError as error:
            raise UserError(f"the network cannot be stored: {where}: {error}") from None


def read_graph(tensors: Path, structure: Path, build_module: Callable[[object], nn.Module]) -> GraphNetwork:
    """Rebuild what `write_graph` wrote, in eval mode.

    Args:
        build_module: Makes a part from its `spec()`, a dictionary that may hold anything, or raises ValueError. Called
            where tensors take no memory.

    Raises:
        UserError: for files that are missing, damaged, of another version, or that name an operator not on the list.
    """
    document, state = _read(tensors, structure)
    try:
        with torch.device("meta"):
            modules = {name: build_module(spec) for name, spec in document.modules.items()}
        graph = _Decoder(modules, state).decode(document.nodes)
        constants = {name: tensor for name, tensor in state.items() if split_tensor_name(name)[0] not in modules}
        network = GraphNetwork(graph, {**modules, **constants}, source=str(structure))
        if network.parts().keys() != {**modules, **constants}.keys():
            raise ValueError("some of it is not used")
        _check_types(network, state)
        network.load_state_dict(state, assign=True)
        _check_parts(modules)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError, RecursionError) as error:
        raise UserError(f"{structure} and {tensors.name} do not fit together: {_reason(error)}") from None
    return network.eval()


def _read(tensors: Path, structure: Path) -> tuple[Document, dict[str, Tensor]]:
    try:
        content = json.loads(structure.read_text())
        state = load_file(tensors)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"cannot read the quantized network in {structure.parent}: {reason_of(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{structure} does not describe a quantized network")
    if content.get("version") != GRAPH_VERSION:
        version = str(content.get("version"))[:20]
        raise UserError(f"{structure} has version {version}, this genq-export reads {GRAPH_VERSION}: quantize again")
    try:
        return Document.model_validate(content), {name: tensor.clone() for name, tensor in state.items()}
    except ValidationError as error:
        raise UserError(f"{structure} does not describe a quantized network: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return damaged_field(error)
    return f"{str(error)[:100]} is not known" if isinstance(error, KeyError) else reason_of(error)


def _check_types(network: GraphNetwork, state: Mapping[str, Tensor]) -> None:
    """Loading would take any type, and one number as a list; codes in floating point are a damaged file."""
    for name, tensor in network.state_dict().items():
        if name in state and (state[name].dtype, state[name].shape) != (tensor.dtype, tensor.shape):
            found, wanted = (f"{part.dtype} {list(part.shape)}" for part in (state[name], tensor))
            raise TypeError(f"{name} is {found}, not {wanted}")


def _check_parts(modules: Mapping[str, Any]) -> None:
    """Tensors that make sense, and one path for one part of a kind."""
    named = [(type(part), part.name) for part in modules.values()]
    if len(set(named)) != len(named):
        raise ValueError("two parts of one kind have the same name")
    for part in modules.values():
        part.check()


def _encode_node(node: fx.Node) -> NodeRecord:
    return NodeRecord(
        name=node.name,
        op=node.op,  # type: ignore[arg-type]
        target=operator_name(node.target) if node.op == "call_function" else str(node.target),
        args=[_encode(value) for value in node.args],
        kwargs={key: _encode(value) for key, value in node.kwargs.items()},
    )


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, torch.dtype):
        return {"dtype": _DTYPE_NAMES[value]}
    if isinstance(value, list | tuple):
        return [_encode(part) for part in value]
    if isinstance(value, dict):
        return {"outputs": {name: _encode(part) for name, part in value.items()}}
    return value


class _Decoder:
    """Makes a graph from records; every name, operator, argument and reference is checked on the way.

    modules: the parts of the network by name. state: the tensors of the file.
    """

    def __init__(self, modules: Mapping[str, nn.Module], state: Mapping[str, Tensor]) -> None:
        self._modules, self._state = modules, state
        self._graph = fx.Graph()
        self._made: dict[str, fx.Node] = {}

    def decode(self, records: list[NodeRecord]) -> fx.Graph:
        kinds = [record.op for record in records]
        if kinds.count("placeholder") != 1 or kinds.count("output") != 1 or kinds[-1] != "output":
            raise ValueError("a network has one input, and one output, which comes last")
        for record in records:
            if not is_name(record.name) or record.name in self._made:
                raise ValueError(f"'{record.name[:100]}' cannot name a node")
            try:
                self._made[record.name] = self._node(record)
            except (KeyError, TypeError, ValueError) as error:
                shown = f"node '{record.name}' ({record.op} {record.target[:100]})"
                raise ValueError(f"{shown}: {_reason(error)}") from None
        return self._graph

    def _node(self, record: NodeRecord) -> fx.Node:
        if record.op == "output" and record.args and isinstance(record.args[0], dict) and "outputs" in record.args[0]:
            return self._named_outputs(record)
        args = tuple(self._value(value) for value in record.args)
        kwargs = {key: self._value(value) for key, value in record.kwargs.items()}
        target: Any = record.target
        if record.op == "call_function":
            if not is_allowed(target):
                raise ValueError("this operator is not among those that a build folder may hold")
            check_arguments(target, args, kwargs)
            target = operator_called(target)
        else:
            self._check_target(record.op, target, args, kwargs)
        return self._graph.create_node(record.op, target, args, kwargs, name=record.name)

    def _named_outputs(self, record: NodeRecord) -> fx.Node:
        """The output of a network that gives tensors by name."""
        (argument,) = record.args
        outputs = argument["outputs"]
        if record.kwargs or len(argument) != 1 or not isinstance(outputs, dict) or not is_name(record.target):
            raise TypeError("its outputs are nodes by name")
        if not 0 < len(outputs) <= MOST_OUTPUTS or not all(map(is_output_name, outputs)):
            raise ValueError(f"1 to {MOST_OUTPUTS} outputs have names")
        found = {name: self._value(value) for name, value in outputs.items()}
        if not all(isinstance(node, fx.Node) for node in found.values()) or len({*found.values()}) != len(found):
            raise TypeError("each output is what another node gives")
        return self._graph.create_node(record.op, record.target, (found,), {}, name=record.name)

    def _check_target(self, kind: str, target: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if kwargs or not all(isinstance(value, fx.Node) for value in args):
            raise TypeError("it takes what other nodes give, in order")
        wanted = 0
        if kind == "call_module":
            wanted = len(inspect.signature(self._modules[target].forward).parameters)
            self._check_scales(args[1::2])
        elif kind == "get_attr":
            self._check_tensor(target)
        elif not is_name(target):
            raise ValueError("is no name")
        elif kind == "output":
            wanted = 1
        if len(args) != wanted:
            raise TypeError(f"it takes {wanted} arguments, not {len(args)}")

    def _check_scales(self, nodes: tuple[fx.Node, ...]) -> None:
        """Every second argument of a part is the scale of the quantizer that the one before went through."""
        for node in nodes:
            part, _ = split_tensor_name(str(node.target))
            quantizes = hasattr(self._modules.get(part), "zero_point")
            if node.op != "get_attr" or node.target != scale_name(part) or not quantizes:
                raise TypeError(f"'{node.name}' is not the scale of a quantizer")

    def _check_tensor(self, target: str) -> None:
        part, tensor = split_tensor_name(target)
        found = target in self._state and (not tensor or part in self._modules)
        if not found or not is_name(part) or (tensor and not is_name(tensor)):
            raise KeyError(target)

    def _value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, dict):
            ((kind, name),) = value.items()
            return self._made[name] if kind == "node" else {"dtype": DTYPES}[kind][name]
        if isinstance(value, list):
            if depth == _DEEPEST:
                raise ValueError("lists in lists in lists")
            return [self._value(part, depth + 1) for part in value]
        return value
