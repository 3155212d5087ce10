"""Operators by the names that files give them, and arguments held against what an operator's schema allows.

Files call an operator `conv2d.default` (ATen, overload) or `python.mul`. Which there are is in `allowed_operators`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from genq_export.network.allowed_operators import ATEN, DTYPES, FIXED_ARGUMENTS, PYTHON

_PYTHON_PREFIX = "python."
_INT64 = range(-(2**63), 2**63)
_NAME_OF_PYTHON: dict[object, str] = {function: f"{_PYTHON_PREFIX}{name}" for name, function in PYTHON.items()}
_TEXT_LENGTH = 64
INTEGER_OPERATORS = frozenset(PYTHON.values())


def operator_name(function: object) -> str:
    """What files call an operator, whether it is on the list or not."""
    if isinstance(function, torch._ops.OpOverload):
        space, _, name = function._schema.name.partition("::")
        return f"{'' if space == 'aten' else f'{space}.'}{name}.{function._overloadname}"
    other = f"{_PYTHON_PREFIX}{getattr(function, '__name__', type(function).__name__)}"
    return _NAME_OF_PYTHON.get(function, other)


def is_allowed(name: str) -> bool:
    """May a stored network hold the operator of this name?"""
    return name in ATEN or (name.startswith(_PYTHON_PREFIX) and name.removeprefix(_PYTHON_PREFIX) in PYTHON)


def operator_called(name: str) -> Callable[..., Any]:
    """The operator of a name on the list."""
    if name.startswith(_PYTHON_PREFIX):
        return PYTHON[name.removeprefix(_PYTHON_PREFIX)]
    packet, _, overload = name.partition(".")
    function: torch._ops.OpOverload = getattr(getattr(torch.ops.aten, packet), overload)
    return function


def check_arguments(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Hold arguments against the operator's schema. What other nodes compute may be anything until it is there.

    Raises:
        TypeError: naming the argument, where one is of a kind that the operator does not take.
    """
    if name.startswith(_PYTHON_PREFIX):
        _check_python(name, args, kwargs)
        return
    schema = operator_called(name)._schema  # type: ignore[attr-defined]
    positional = [part for part in schema.arguments if not part.kwarg_only]
    if len(args) > len(positional):
        raise TypeError(f"{len(args)} arguments, of at most {len(positional)}")
    given = {part.name: value for part, value in zip(positional, args, strict=False)}
    known = {part.name: part for part in schema.arguments}
    for key in kwargs:
        if key not in known or key in given:
            raise TypeError(f"there is no argument '{key}', or twice")
    given |= kwargs
    for part in schema.arguments:
        if part.name not in given:
            if not part.has_default_value():
                raise TypeError(f"argument '{part.name}' is missing")
        elif not _fits(given[part.name], part.real_type, part.N):
            raise TypeError(f"argument '{part.name}' is no {part.real_type}")
    for key, wanted in FIXED_ARGUMENTS.get(name, {}).items():
        if given.get(key, wanted) != wanted:
            raise TypeError(f"argument '{key}' has to be {wanted}")


def _check_python(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Two sizes, or what an operator gave and a place in it."""
    fits = len(args) == 2 and all(isinstance(part, fx.Node) or _is_integer(part) for part in args)
    if kwargs or not fits or (name == f"{_PYTHON_PREFIX}getitem" and not isinstance(args[0], fx.Node)):
        raise TypeError("it takes two integers, or a node and an integer")


def check_integers(function: Callable[..., Any], args: Sequence[Any]) -> None:
    """Hold what a Python operator is about to be called with against what it is for: not to multiply a tuple.

    Raises:
        TypeError: where it is something else.
    """
    first, second = args
    whole = isinstance(second, int | torch.SymInt)
    wanted = tuple | list if function is PYTHON["getitem"] else int | torch.SymInt
    if not (whole and isinstance(first, wanted)):
        raise TypeError(f"{operator_name(function)} of {type(first).__name__} and {type(second).__name__}")


def _fits(value: Any, kind: Any, length: int | None = None) -> bool:
    """Is `value` of a kind that a schema names? length: where one number may stand for a list of so many."""
    spelled = str(kind)
    if kind.kind() == "OptionalType":
        return value is None or _fits(value, kind.getElementType(), length)
    if kind.kind() == "ListType":
        if not isinstance(value, list | tuple):
            return length is not None and _fits(value, kind.getElementType())
        return all(_fits(part, kind.getElementType()) for part in value)
    if spelled == "ScalarType":
        return value in DTYPES.values() if isinstance(value, torch.dtype) else False
    if spelled in ("int", "SymInt"):
        return isinstance(value, fx.Node) or _is_integer(value)
    if spelled in ("Tensor", "float", "number"):  # a number may stand for a tensor: x * 0.5
        return isinstance(value, fx.Node | bool | float) or _is_integer(value)
    if spelled == "bool":
        return isinstance(value, bool)
    if spelled == "str":
        return isinstance(value, str) and len(value) <= _TEXT_LENGTH
    return False  # layouts, memory formats, devices and generators: nobody here gives one


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _INT64
