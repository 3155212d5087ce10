"""A quantized graph on disk: JSON for the structure, safetensors for the tensors. Reading it executes nothing foreign.

The structure lists nodes in order: operators by their ATen name, modules by a `spec()` that rebuilds them, tensors by
their name in the safetensors file. Only ATen operators and a handful of Python integer operators are allowed.
"""

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, fx, nn

from genq_export.core.errors import UserError, reason_of
from genq_export.core.workspace import write_atomic

GRAPH_VERSION = 2
_PYTHON_OPERATORS: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "mul": operator.mul,
    "add": operator.add,
    "floordiv": operator.floordiv,
}
_NODE_KINDS = ("placeholder", "get_attr", "call_function", "call_module", "output")


def write_graph(gm: fx.GraphModule, tensors: Path, structure: Path) -> None:
    """Write a GraphModule whose submodules all have `spec()`; each file appears whole or not at all."""
    used = {str(node.target) for node in gm.graph.nodes if node.op == "get_attr"}
    called = [str(node.target) for node in gm.graph.nodes if node.op == "call_module"]
    modules = {target: gm.get_submodule(target) for target in called}
    state = {
        name: tensor.contiguous()
        for name, tensor in gm.state_dict().items()
        if name in used or any(name.startswith(f"{path}.") for path in modules)
    }
    loose = {name: _loose(gm, name).contiguous() for name in used if name not in state}
    document = {
        "version": GRAPH_VERSION,
        "modules": {path: module.spec() for path, module in modules.items()},  # type: ignore[operator]
        "nodes": [_encode_node(node) for node in gm.graph.nodes],
    }
    write_atomic(tensors, save({**state, **loose}))
    write_atomic(structure, (json.dumps(document, indent=1) + "\n").encode())


def read_graph(tensors: Path, structure: Path, build_module: Callable[[dict[str, Any]], nn.Module]) -> fx.GraphModule:
    """Rebuild what `write_graph` wrote, in eval mode.

    Raises UserError for files that are missing, damaged, of another version, or that name an operator that is not ATen.
    """
    try:
        document = json.loads(structure.read_text())
        state = load_file(tensors)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"cannot read the quantized network in {structure.parent}: {reason_of(error)}") from None
    if not isinstance(document, dict):
        raise UserError(f"{structure} does not describe a quantized network")
    if document.get("version") != GRAPH_VERSION:
        version = document.get("version")
        raise UserError(f"{structure} has version {version}, this genq-export reads {GRAPH_VERSION}: quantize again")
    root = nn.Module()
    try:
        for path, spec in document["modules"].items():
            home, name = _home(root, path)
            home.add_module(name, build_module(spec))
        graph = _decode_graph(document["nodes"])
        for node in graph.nodes:
            if node.op == "get_attr" and str(node.target) not in root.state_dict():
                home, name = _home(root, str(node.target))
                home.register_buffer(name, state[str(node.target)])
        gm = fx.GraphModule(root, graph)
        _check_types(gm, state)
        gm.load_state_dict(state)
        graph.lint()
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = f"{error} is not known" if isinstance(error, KeyError) else reason_of(error)
        raise UserError(f"{structure} and {tensors.name} do not fit together: {reason}") from None
    return gm.eval()


def _check_types(gm: fx.GraphModule, state: dict[str, Tensor]) -> None:
    """Loading would convert; codes that come as floating point numbers are a damaged file."""
    for name, tensor in gm.state_dict().items():
        if name in state and state[name].dtype != tensor.dtype:
            raise TypeError(f"{name} is {state[name].dtype}, not {tensor.dtype}")


def _loose(gm: fx.GraphModule, name: str) -> Tensor:
    value = operator.attrgetter(name)(gm)
    assert isinstance(value, Tensor)
    return value


def _encode_node(node: fx.Node) -> dict[str, Any]:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        written = f"{target._schema.name.removeprefix('aten::')}.{target._overloadname}"
    elif callable(target):
        written = f"python.{target.__name__}"
    else:
        written = str(target)
    return {
        "name": node.name,
        "op": node.op,
        "target": written,
        "args": [_encode(value) for value in node.args],
        "kwargs": {key: _encode(value) for key, value in node.kwargs.items()},
    }


def _encode(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, list | tuple):
        return [_encode(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(f"the network's graph holds a {type(value).__name__}, which the build folder cannot store")


def _decode_graph(nodes: list[dict[str, Any]]) -> fx.Graph:
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for record in nodes:
        _check_record(record)
        args = tuple(_decode(value, made) for value in record["args"])
        kwargs = {key: _decode(value, made) for key, value in record["kwargs"].items()}
        target = _function(record["target"]) if record["op"] == "call_function" else record["target"]
        made[record["name"]] = graph.create_node(record["op"], target, args, kwargs, name=record["name"])
    return graph


def _check_record(record: dict[str, Any]) -> None:
    """torch.fx writes Python source from a graph: nothing but plain names may get into it."""
    kind, target = record["op"], record["target"]
    if kind not in _NODE_KINDS:
        raise ValueError(f"node kind '{kind}' is not known")
    names = [record["name"], *record["kwargs"], *([target] if kind == "placeholder" else [])]
    for name in names:
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"'{name}' is not a name")
    if not isinstance(target, str):
        raise TypeError(f"target of '{record['name']}' is not a name")


def _decode(value: Any, made: dict[str, fx.Node]) -> Any:
    if isinstance(value, dict):
        return made[value["node"]]
    if isinstance(value, list):
        return [_decode(part, made) for part in value]
    return value


def _function(name: str) -> Callable[..., Any]:
    operator_name, _, overload = name.rpartition(".")
    if operator_name == "python":
        return _PYTHON_OPERATORS[overload]
    function = getattr(getattr(torch.ops.aten, operator_name), overload)
    if not isinstance(function, torch._ops.OpOverload):
        raise ValueError(f"'{name}' is not an ATen operator")
    return function


def _home(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The module that holds what a dotted path names, made where it is missing, and the last name."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    return root, name
