"""From a `.pt2` file to a module and the size of its input."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from genq_export.core.errors import UserError, reason_of
from genq_export.models.answers import called
from genq_export.models.program.archive import Archive, read_archive
from genq_export.models.program.batch import freed, same_for_any_batch
from genq_export.models.program.module import ProgramModule, tensor_paths
from genq_export.models.program.steps import Step, step_of

_FLOAT = 7
_DICTIONARIES = ("builtins.dict", "collections.OrderedDict")
_SYMBOL = re.compile(r"s\d+|Symbol\('s\d+'(, (positive|integer|nonnegative)=True)*\)")
_REMEDY = (
    "export it with a free batch: torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim('batch')},)),"
    " x of two images"
)


@dataclass(frozen=True)
class Program:
    """A module in eval mode, float32 [B, *input_size] -> its output, for any B."""

    module: nn.Module
    input_size: tuple[int, int, int]


def read_program(path: Path, wanted: tuple[int, int, int] | None = None) -> Program:
    """Read an exported program; nothing in the file is run but operators of a written list.

    Args:
        path: of the file.
        wanted: size of the input, where the program leaves it free.

    Raises:
        UserError: where it cannot be taken, with what to do.
    """
    archive = read_archive(path)
    try:
        return _program(path, archive, wanted)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no program that torch.export.save wrote: {reason_of(error)}") from None


def _program(path: Path, archive: Archive, wanted: tuple[int, int, int] | None) -> Program:
    graph, signature = archive.graph_module["graph"], archive.graph_module["signature"]
    tensors, users = tensor_paths(signature)
    if len(users) != 1:
        raise UserError(f"it takes {len(users)} inputs: a network takes one batch of images")
    batch, size = _input_size(graph["tensor_values"][users[0]], wanted)
    outputs = _outputs(archive.graph_module)
    steps = [step_of(node) for node in graph["nodes"]]
    if batch is None:
        return Program(ProgramModule(archive, tensors, steps, users[0], outputs).eval(), size)
    sizes = {name: [part.get("as_int") for part in meta["sizes"]] for name, meta in graph["tensor_values"].items()}
    for tried in _variants(steps, batch, users[0], sizes):
        module = ProgramModule(archive, tensors, tried, users[0], outputs).eval()
        if same_for_any_batch(module, size, batch):
            return Program(module, size)
    raise UserError(f"it was exported for a batch of {batch}, which its graph holds in too many places: {_REMEDY}")


def _variants(steps: list[Step], batch: int, user_input: str, sizes: Mapping[str, list[Any]]) -> list[list[Step]]:
    return [steps, *(freed(steps, batch, user_input, sizes, constants) for constants in (False, True))]


def _input_size(
    meta: Mapping[str, Any], wanted: tuple[int, int, int] | None
) -> tuple[int | None, tuple[int, int, int]]:
    """The batch, None where it is free, and channels, height and width."""
    sizes = [_size(value) for value in meta["sizes"]]
    if len(sizes) != 4:
        raise UserError(
            f"its input has {len(sizes)} dimensions: a network takes images [batch, channels, height, width]"
        )
    if meta["dtype"] != _FLOAT:
        raise UserError("its input is not float32: export the network after `.float()`")
    if wanted is None and None in sizes[1:]:
        raise UserError("it takes images of any size: give --input-size CHANNELS,HEIGHT,WIDTH")
    found = wanted or tuple(sizes[1:])
    if any(given not in (None, size) for given, size in zip(sizes[1:], found, strict=True)):
        told = ",".join("any" if size is None else str(size) for size in sizes[1:])
        raise UserError(f"it takes {told} (channels, height, width) and cannot be given another --input-size")
    return sizes[0], found  # type: ignore[return-value]


def _size(value: Mapping[str, Any]) -> int | None:
    """A number, or None for a symbol; any other expression is refused, none is evaluated."""
    ((kind, content),) = value.items()
    if kind == "as_int":
        return int(content)
    if not _SYMBOL.fullmatch(content["expr_str"]):
        raise UserError(f"a size of its input is '{str(content['expr_str'])[:60]}', neither a number nor a free size")
    return None


def _outputs(graph_module: Mapping[str, Any]) -> dict[str, str]:
    """Names of the results in the graph, by the names that the program's own output has for them."""
    names = []
    for spec in graph_module["signature"]["output_specs"]:
        ((kind, content),) = spec.items()
        if kind != "user_output":
            raise UserError(f"it changes what it is made of ({kind}): call `.eval()` on the network, export again")
        if "as_tensor" not in content["arg"]:
            raise UserError("one of its outputs is no tensor: export it without that one")
        names.append(str(content["arg"]["as_tensor"]["name"]))
    paths = [called(path) for path in _paths(_result_spec(graph_module))]
    return dict(zip(paths if len({*paths}) == len(names) else names, names, strict=True))


def _result_spec(graph_module: Mapping[str, Any]) -> Mapping[str, Any]:
    """How what the program returns is built of tensors, as torch writes it; empty where that is not told."""
    calls = graph_module.get("module_call_graph") or [{}]
    tree = json.loads((calls[0].get("signature") or {}).get("out_spec") or "[]")
    return tree[1] if isinstance(tree, list) and len(tree) > 1 else {"type": None}


def _paths(spec: Mapping[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Keys and places that lead to each tensor."""
    if spec["type"] is None:
        yield path
        return
    children = spec["children_spec"]
    keys = json.loads(spec["context"]) if spec["type"] in _DICTIONARIES else range(len(children))
    for key, child in zip(keys, children, strict=True):
        yield from _paths(child, (*path, key))
