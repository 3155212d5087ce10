"""Nodes of a program's graph as steps: an operator, its arguments as Python has them, the names of what it gives."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from genq_export.core.errors import UserError
from genq_export.models.program.archive import DTYPES
from genq_export.models.program.operators import EVAL_MODE, operator_of, short_name
from genq_export.network.allowed_operators import FIXED_ARGUMENTS

_PLAIN: dict[str, Any] = {
    "as_int": int, "as_float": (int, float), "as_bool": bool, "as_string": str, "as_ints": list, "as_floats": list,
    "as_bools": list, "as_int_lists": list, "as_float_lists": list,
}  # fmt: skip
_PATH = re.compile(r"\w+(\.\w+)*")
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_STRIDED = 7


@dataclass(frozen=True)
class Ref:
    """What an earlier step gave, or an input of the graph, by name."""

    name: str


@dataclass(frozen=True)
class Step:
    """One node. name: short name of the operator. path: of the network's module that it came from, "" for the root.

    outputs: one name, or a list of them for each tensor that a tuple or list holds; None for what nobody reads.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: str | tuple[str | None, ...]
    path: str

    def refs(self) -> Iterator[str]:
        """Names that it reads."""
        for value in (*self.args, *self.kwargs.values()):
            yield from (part.name for part in (value if isinstance(value, list) else [value]) if isinstance(part, Ref))


def step_of(node: Mapping[str, Any]) -> Step:
    """Read a node.

    Raises:
        UserError: for an operator that is not on the list, or a program in train mode.
        ValueError: for what is no node.
    """
    name = short_name(str(node["target"]))
    function = operator_of(str(node["target"]))
    values = [(str(given["name"]), argument(given["arg"])) for given in node["inputs"]]
    args, kwargs = _in_order(function, values)
    _check_fixed(name, dict(values))
    return Step(name, function, args, kwargs, _outputs(node["outputs"]), _path(node.get("metadata") or {}))


def argument(value: Mapping[str, Any]) -> Any:
    """An argument as Python has it. A device is the CPU, wherever the program was made.

    Raises:
        ValueError: for one of a kind that no operator on the list takes.
    """
    ((kind, content),) = value.items()
    if kind == "as_none":
        return None
    if kind in _PLAIN:
        if not isinstance(content, _PLAIN[kind]):
            raise ValueError(f"{kind} of {type(content).__name__}")
        return content
    if kind in ("as_tensor", "as_optional_tensor"):
        return argument(content) if "as_none" in content or "as_tensor" in content else Ref(str(content["name"]))
    if kind in ("as_tensors", "as_optional_tensors"):
        return [argument(one) if "name" not in one else Ref(str(one["name"])) for one in content]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _symbolic(content)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_symbolic(one) for one in content]
    tables: dict[str, Mapping[Any, Any]] = {
        "as_scalar_type": DTYPES,
        "as_memory_format": _MEMORY_FORMATS,
        "as_layout": {_STRIDED: torch.strided},
    }
    if kind in tables:
        return tables[kind][content]
    if kind == "as_device":
        return torch.device("cpu")
    raise ValueError(f"an argument of kind {str(kind)[:40]}")


def _symbolic(content: Mapping[str, Any]) -> Any:
    """A number, or what an earlier step computed from sizes; expressions are never read."""
    ((kind, value),) = content.items()
    if kind == "as_name":
        return Ref(str(value))
    if isinstance(value, int | float):
        return value
    raise ValueError("a size that is neither a number nor a name")


def _in_order(function: Callable[..., Any], values: list[tuple[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by place as far as they stand in the schema's order, the others by name."""
    if not isinstance(function, torch._ops.OpOverload):
        return tuple(value for _, value in values), {}
    places = [part.name for part in function._schema.arguments if not part.kwarg_only]
    leading = 0
    while leading < min(len(values), len(places)) and values[leading][0] == places[leading]:
        leading += 1
    return tuple(value for _, value in values[:leading]), dict(values[leading:])


def _check_fixed(name: str, given: Mapping[str, Any]) -> None:
    plain = name.replace("_.", ".")
    if any(given.get(key, value) != value for key, value in EVAL_MODE.get(plain, {}).items()):
        raise UserError(f"the program was exported in train mode ({name}): call `.eval()` on the network, export again")
    if any(given.get(key, value) != value for key, value in FIXED_ARGUMENTS.get(plain, {}).items()):
        raise UserError(f"operator '{name}' is given what no exported program may give it")


def _outputs(outputs: list[Mapping[str, Any]]) -> str | tuple[str | None, ...]:
    if len(outputs) == 1:
        ((kind, content),) = outputs[0].items()
        if kind in ("as_tensors", "as_optional_tensors"):
            return tuple(str(one["name"]) if "name" in one else None for one in content)
        return _output_name(kind, content) or ""
    return tuple(_output_name(*next(iter(output.items()))) for output in outputs)


def _output_name(kind: str, content: Any) -> str | None:
    if kind in ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
        return str(content.get("name") or content.get("as_name") or "")
    if kind == "as_none":
        return None
    raise ValueError(f"an output of kind {str(kind)[:40]}")


def _path(metadata: Mapping[str, Any]) -> str:
    """The innermost module of `KEY,PATH,TYPE;KEY,PATH,TYPE`."""
    last = str(metadata.get("nn_module_stack", "")).rpartition(";")[2].split(",")
    path = re.sub(r"@\d+", "", last[1]) if len(last) > 2 else ""
    return path if _PATH.fullmatch(path) and "empty_nn_module_stack" not in path else ""
