"""Is the integer model the reference's, and the file the integer model's? Both are made once more and compared as data.

The codes of a sample show what the sample reaches; this shows every number: the divisor of a pooling, the bound of a
quantizer that no code meets, a tensor that moves an answer by less than a code.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors import safe_open

from export.fold import fold
from export.summary import classes_digest
from genq_export.config.build import BuildConfig
from genq_export.config.export import ExportConfig
from genq_export.core.workspace import Workspace, package_versions, sha256
from genq_export.network.files import INTEGER_FILES, load_integer_model, load_reference, save_integer_model
from genq_export.network.free_size import FreeSize, free_size_of
from genq_export.network.onnx_graph import read_model
from genq_export.targets import target

# Packages that decide how the same network is written as a file.
_WRITERS = ("genq-export", "torch", "onnx")


def unlike_reference(folder: Path) -> tuple[str, ...]:
    """How the integer model differs from what the reference folds to, a phrase each; empty where in nothing.

    Raises:
        UserError: One of the two cannot be read.
    """
    tensors, structure = INTEGER_FILES
    with tempfile.TemporaryDirectory() as place:
        save_integer_model(fold(load_reference(folder)), Path(place))
        load_integer_model(folder)  # checks every field before anything is compared
        documents = (json.loads((home / structure).read_bytes()) for home in (Path(place), folder))
        fields = [f"{structure}: {where}" for where in _unlike(*documents)]
        return (*fields, *(f"{tensors}: {name}" for name in _unlike_tensors(Path(place) / tensors, folder / tensors)))


def unlike_classes(workspace: Workspace, names: Sequence[str] | None) -> tuple[str, ...]:
    """Are the names of the classes those of the build? Labels are matched by them.

    Returns:
        A phrase where they are others; empty where they are the same, and where a build of an earlier release did not
        keep them.
    """
    made = workspace.read_manifest().stages.get("export")
    kept = made.summary.get("classes") if made is not None else None
    if kept is None or names is None or kept == classes_digest(names):
        return ()
    return ("the names of the classes, or their order, are not those that the build was made with",)


def _unlike(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Fields of two documents that differ."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys([*expected, *found]):
            yield from _unlike(expected.get(key), found.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _unlike(one, other, f"{where}[{place}]")
    elif type(expected) is not type(found) or expected != found:
        yield f"{where} is {_short(found)}, the reference folds to {_short(expected)}"


def _unlike_tensors(expected: Path, found: Path) -> Iterator[str]:
    with safe_open(expected, "np") as one, safe_open(found, "np") as other:
        names = set(one.keys()), set(other.keys())
        for name in sorted(names[0] | names[1]):
            if name not in names[0] & names[1]:
                yield f"{name} is only in one of the integer model and what the reference folds to"
            elif not _same(one.get_tensor(name), other.get_tensor(name)):
                yield f"{name} is not what the reference folds to"


def _same(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def unlike_export(
    workspace: Workspace, config: BuildConfig, input_size: tuple[int, int, int]
) -> tuple[tuple[str, ...], str | None]:
    """How `model.onnx` differs from what the integer model is written as, a phrase each; empty where in nothing.

    Returns:
        The differences, and why none could be looked for, None where they were.

    Raises:
        BackendError: The file cannot be read.
        UserError: The integer model cannot be read, or its target does not take it.
    """
    made = workspace.read_manifest().stages.get("export")
    here = package_versions()
    others = [
        f"{name} {made.versions.get(name)}" for name in _WRITERS if made and made.versions.get(name) != here.get(name)
    ]
    if others:
        return (), f"the file was not held against the integer model written anew: it was made with {', '.join(others)}"
    digests = tuple(sha256(workspace.path(name)) for name in INTEGER_FILES)
    free = free_size_of(workspace, "quantize")
    expected = _written(workspace.folder, digests, config.target, config.export.model_dump_json(), input_size, free)
    path = workspace.path("model.onnx")
    if sha256(path) == hashlib.sha256(expected).hexdigest():
        return (), None
    model = onnx.ModelProto()
    model.ParseFromString(expected)
    return tuple(_unlike_graphs(model, read_model(path))), None


@lru_cache(maxsize=1)
def _written(
    folder: Path,
    digests: tuple[str, ...],
    target_name: str,
    settings: str,
    input_size: tuple[int, int, int],
    free_size: FreeSize | None,
) -> bytes:
    """The bytes of the integer model's file. Kept for the last one: digests are of what the folder holds."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "again.onnx"
        model = load_integer_model(folder).copy()  # its parts in the order of the nodes, as when it was folded
        target(target_name).emit(model, input_size, ExportConfig.model_validate_json(settings), path, free_size)
        return path.read_bytes()


def _unlike_graphs(expected: onnx.ModelProto, found: onnx.ModelProto) -> Iterator[str]:
    """Nodes are known by the first tensor that they make; names of tensors are those of the network."""
    one, other = ({node.output[0]: node for node in model.graph.node} for model in (expected, found))
    for name in dict.fromkeys([*one, *other]):
        if name not in other or name not in one:
            where = "lacks" if name not in other else "has"
            yield f"the file {where} the node that makes {name}, unlike the integer model's own"
        elif message := _unlike_nodes(one[name], other[name]):
            yield message
    tensors = ({item.name: item for item in model.graph.initializer} for model in (expected, found))
    yield from _unlike_initializers(*tensors)
    outputs = [[item.name for item in model.graph.output] for model in (expected, found)]
    if outputs[0] != outputs[1]:
        yield f"the outputs of the file are {outputs[1]}, the integer model's are {outputs[0]}"


def _unlike_nodes(expected: onnx.NodeProto, found: onnx.NodeProto) -> str | None:
    name, kind = expected.name or expected.output[0], expected.op_type
    if (kind, expected.domain) != (found.op_type, found.domain):
        return f"{name} is a {found.op_type} in the file and a {kind} in the integer model's own"
    if list(expected.input) != list(found.input):
        return f"{kind} {name} reads other tensors in the file than in the integer model's own"
    one, other = ({item.name: item for item in node.attribute} for node in (expected, found))
    for key in dict.fromkeys([*one, *other]):
        values = [_attribute(item.get(key)) for item in (one, other)]
        if values[0] != values[1]:
            shown = [str(value) if len(str(value)) <= 40 else "another" for value in values]
            return f"{key} of {kind} {name} is {shown[1]} in the file and {shown[0]} in the integer model's own"
    return None


def _attribute(attribute: onnx.AttributeProto | None) -> Any:
    if attribute is None:
        return "not given"
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _content(attribute.t)
    return onnx.helper.get_attribute_value(attribute)


def _unlike_initializers(
    expected: Mapping[str, onnx.TensorProto], found: Mapping[str, onnx.TensorProto]
) -> Iterator[str]:
    for name in dict.fromkeys([*expected, *found]):
        if name not in expected or name not in found:
            yield f"the constant {name} is only in one of the file and the integer model's own"
        elif _content(expected[name]) != _content(found[name]):
            yield f"the constant {name} is another in the file than in the integer model's own"


def _content(tensor: onnx.TensorProto) -> tuple[Any, ...]:
    value = numpy_helper.to_array(tensor)
    return value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes()
