"""The container: an ONNX file parsed, and the other files that it keeps tensors in. No torch is needed for that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

from genq_export.core.errors import UserError, reason_of
from genq_export.core.paths import inside

_SHOWN = 80


def parsed(path: Path) -> Any:
    """The file's `ModelProto`, without what lies in other files; functions that it defines are written out.

    Raises:
        UserError: where it is none, or not all of one.
    """
    try:
        model = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or reason_of(error)}") from None
    except Exception as error:  # protobuf raises its own DecodeError, onnx several others
        raise UserError(
            f"{path} is no ONNX file, or not all of one ({reason_of(error)}): copy or export it again"
        ) from None
    if not model.opset_import or not model.HasField("graph"):
        raise UserError(f"{path} is no ONNX file, or not all of one: copy or export it again")
    return _without_functions(_readable(model, path), path)


def _readable(model: Any, path: Path) -> Any:
    """Names in a damaged file may be no text: protobuf hands these over as bytes."""
    names = [model.graph.name, *(entry.domain for entry in model.opset_import)]
    for node in model.graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        names.append(part.name)
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is no ONNX file, or not all of one (names in it are no text): export it again")
    return model


def _without_functions(model: Any, path: Path) -> Any:
    """Functions that the file defines for itself, written out."""
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # of the C++ library, without a public base class
        raise UserError(f"{path}: its functions cannot be written out ({reason_of(error)})") from None


def reduced(path: Path, nodes: Sequence[Any], results: Sequence[str]) -> bytes:
    """The file as one of these nodes alone, whose outputs are `results`; tensors in other files stay there."""
    model = parsed(path)
    literals = [node for node in model.graph.node if node.op_type == "Constant"]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend([*literals, *nodes])
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in results)
    return bytes(model.SerializeToString())


def external_files(path: Path) -> list[Path]:
    """The other files that a file keeps tensors in; raises UserError where one would lie elsewhere."""
    model = parsed(path)
    tensors = [*model.graph.initializer, *split_constants(model.graph.node)[1].values()]
    outside = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    check_place(path, outside)
    named = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    return sorted(path.parent / name for name in named)


def check_place(path: Path, tensors: list[Any]) -> None:
    """What lies in other files lies in the folder of this one; raises UserError where it does not."""
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            try:
                place = inside(path.parent, entries.get("location", ""))
            except UserError as error:
                raise UserError(
                    f"{path} keeps '{tensor.name}' outside of its own folder ({error}), where nothing is read: save it"
                    " again with its tensors beside it"
                ) from None
            if not place.is_file():
                raise UserError(f"{path} keeps '{tensor.name}' in {place}, which does not exist: copy it there too")


def split_constants(nodes: Any) -> tuple[list[Any], dict[str, Any]]:
    """Nodes that compute, and the tensors of Constant nodes by name."""
    others, literals = [], {}
    for node in nodes:
        if node.op_type == "Constant":
            literals[node.output[0]] = _literal(node)
        else:
            others.append(node)
    return others, literals


def _literal(node: Any) -> Any:
    where = f"{shown(node.name, node.output)} (Constant)"
    if len(node.attribute) != 1 or len(node.output) != 1:
        raise UserError(f"{where} holds no value")
    part = node.attribute[0]
    if part.name == "value":
        return part.t
    value = helper.get_attribute_value(part)
    types = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if part.name not in types:
        raise UserError(f"{where} holds a {part.name.removeprefix('value_')}, not numbers")
    return numpy_helper.from_array(np.asarray(value, types[part.name]))


def shown(name: str, outputs: Sequence[str]) -> str:
    """`node '/conv1/Conv'`, or by its first output where it has no name."""
    label = name or next((output for output in outputs if output), "")
    text = label if len(label) <= _SHOWN else f"{label[:_SHOWN]}…"
    return f"node {text!r}" if text.isprintable() else f"node {text!a}"
