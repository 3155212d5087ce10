"""Somebody's QDQ file, read as data: whole, in memory, and refused where it has no codes to compare."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, external_data_helper

from genq_export.core.errors import UserError, reason_of
from genq_export.models.onnx_import.container import check_place, parsed
from runtime_tests.qdq_file.graph import STANDARD, Quantizer, activation_quantizers

_LARGEST = 2**31 - 1  # bytes of a protobuf message
_DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_INTEGER = ("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QAttention")


@dataclass(frozen=True)
class QdqFile:
    """A file, with all that it keeps in others.

    sha256: of the file itself. quantizers: those of activations, in topological order.
    """

    path: Path
    sha256: str
    model: onnx.ModelProto
    quantizers: tuple[Quantizer, ...]


def read_qdq(path: Path) -> QdqFile:
    """Read a file of any tool.

    Raises:
        UserError: where it is damaged, keeps tensors outside of its folder, or has no Q/DQ of activations: what it is
            instead, and what to do.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file")
    model = parsed(path)
    _refuse_other_forms(model, path)
    _take_in(model, path)
    found = activation_quantizers(model)
    if not found:
        raise UserError(_without_codes(model, path))
    return QdqFile(path, hashlib.sha256(path.read_bytes()).hexdigest(), model, found)


def _refuse_other_forms(model: Any, path: Path) -> None:
    """Raise UserError for files whose layers are integer operators, and for operators of nobody's standard."""
    kinds = {node.op_type for node in model.graph.node}
    dynamic = sorted(kinds & {*_DYNAMIC})
    if dynamic:
        raise UserError(
            f"{path} quantizes its activations anew for every image ({dynamic[0]}): there are no scales to hold it"
            " against; quantize it statically, in QDQ form"
        )
    integer = sorted(kind for kind in kinds if kind.startswith("QLinear") or kind in _INTEGER)
    if integer:
        raise UserError(
            f"{path} is a QOperator file ({', '.join(integer[:3])}): its layers are integer operators, with no float"
            " graph to hold them against; write it in QDQ form (quant_format=QuantFormat.QDQ)"
        )
    for node in model.graph.node:
        if "quant" in node.op_type.lower() and node.domain not in STANDARD:
            raise UserError(
                f"{path} quantizes with {node.op_type} of the domain '{node.domain}', which no runtime computes: export"
                " it with QuantizeLinear and DequantizeLinear"
            )


def _without_codes(model: Any, path: Path) -> str:
    kinds = {node.op_type for node in model.graph.node}
    if "QuantizeLinear" in kinds or "DequantizeLinear" in kinds:
        return (
            f"{path} quantizes weights alone: its activations are float, and have no codes to compare (`genq-export"
            " audit` says how its layers run)"
        )
    return f"{path} has no QuantizeLinear: it is a float file, and `genq-export build {path}` makes an integer one"


def _take_in(model: Any, path: Path) -> None:
    """Read what lies in other files of the same folder; raises UserError where it lies elsewhere or is too large."""
    outside = [tensor for tensor in _tensors(model.graph) if tensor.data_location == TensorProto.EXTERNAL]
    check_place(path, outside)
    if path.stat().st_size + sum(_size(tensor, path) for tensor in outside) > _LARGEST:
        raise UserError(f"{path} is larger than 2 GB, which is more than a copy with its codes as outputs may be")
    for tensor in outside:
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
        except Exception as error:  # wrong lengths and offsets
            raise UserError(f"{path}: tensor '{tensor.name}' is damaged ({reason_of(error)})") from None
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _size(tensor: Any, path: Path) -> int:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = entries.get("length", "")
    return int(length) if length.isdecimal() else (path.parent / entries["location"]).stat().st_size


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph and of the graphs inside."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
