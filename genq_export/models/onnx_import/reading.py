"""An ONNX file read as data: parsed, looked through for what cannot be taken, nothing in it executed.

The file may come from a stranger. Every tensor that it keeps in other files must lie in its own folder, and everything
that its nodes read must be given by something in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, numpy_helper
from torch import Tensor

from genq_export.core.errors import UserError, reason_of
from genq_export.models.onnx_import.container import check_place, parsed, shown, split_constants
from genq_export.models.onnx_import.suppression import in_front_of_suppression

OPSETS = range(7, 26)
_STANDARD = ("", "ai.onnx")
_QUANTIZED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger",
)  # fmt: skip
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_WIDENED = {"uint16": np.int64, "uint32": np.int64, "uint64": np.int64}
_TAKEN = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """What a file holds, without the file's own objects, which keep all of it in memory.

    nodes: sorted, so that what is read was given before; Constant nodes are among the tensors. needed: names of the
    tensors that they read, and of the outputs; those in `literals` come from Constant nodes. shape: sizes of the input,
    None where they are free. results: names of the outputs. inner: not the file's own, but tensors inside. notes: what
    was decided.
    """

    path: Path
    opset: int
    nodes: tuple[NodeProto, ...]
    needed: frozenset[str]
    literals: frozenset[str]
    source: str
    shape: tuple[int | None, ...]
    results: tuple[str, ...]
    inner: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """By name, read when they are first asked for: they are all of a file's size.

        Raises:
            UserError: where one is damaged or of a type that is not taken.
        """
        given = _given(parsed(self.path).graph)[0]
        return {name: _tensor(tensor, self.path) for name, tensor in given.items() if name in self.needed}


def read_file(path: Path, wanted: Sequence[str] | None = None) -> OnnxFile:
    """Read a float network of one input.

    Args:
        path: of the file.
        wanted: names of tensors that are outputs in the place of the file's own.

    Raises:
        UserError: where it is damaged or holds something that is not taken: what, which node, and the remedy.
    """
    model = parsed(path)
    opset = _opset(model, path)
    graph = model.graph
    if not graph.node or not graph.output:
        raise UserError(f"{path} holds no network (an ONNX file has nodes and outputs): is it another kind of file?")
    given, nodes, literals = _given(graph)
    source = _source(graph, path)
    own = tuple(output.name for output in graph.output)
    results, notes = (tuple(wanted), ()) if wanted is not None else in_front_of_suppression(path, nodes, own)
    ordered = _ordered(nodes, {source.name, *given}, results, path)
    _check_operators(ordered, path)
    needed = frozenset(name for node in ordered for name in node.input) | set(results)
    check_place(path, [tensor for name, tensor in given.items() if name in needed])
    copies = tuple(_copy(node) for node in ordered)
    inner, shape = not {*results} <= {*own}, _shape(source, path)
    return OnnxFile(path, opset, copies, needed, literals, source.name, shape, results, inner, notes)


def _given(graph: Any) -> tuple[dict[str, Any], list[Any], frozenset[str]]:
    """Stored tensors by name, the nodes that compute, and which of the tensors come from Constant nodes."""
    nodes, literals = split_constants(graph.node)
    return {tensor.name: tensor for tensor in graph.initializer} | literals, nodes, frozenset(literals)


def _opset(model: Any, path: Path) -> int:
    found = [entry.version for entry in model.opset_import if entry.domain in _STANDARD]
    opset = int(max(found, default=0))
    if opset not in OPSETS:
        raise UserError(
            f"{path} is of opset {opset}; opsets {OPSETS.start} to {OPSETS.stop - 1} are taken: export it again, or"
            " convert it with onnx.version_converter.convert_version(model, 17)"
        )
    return opset


def _check_operators(nodes: Any, path: Path) -> None:
    for node in nodes:
        where = f"{path}: {shown(node.name, node.output)} ({node.op_type})"
        if node.op_type in _QUANTIZED:
            raise UserError(
                f"{where}: the file is quantized already; give the float file it was made from (`genq-export audit"
                f" {path}` says what this one computes in integers)"
            )
        if node.domain not in _STANDARD:
            raise UserError(
                f"{where} is of the domain '{node.domain}', no operator of the ONNX standard: export without custom"
                " operators, or give the file as it was before a runtime optimised it"
            )
        if node.op_type in _CONTROL_FLOW or any(part.HasField("g") or part.graphs for part in node.attribute):
            raise UserError(
                f"{where} is control flow, which is not taken: export with fixed conditions (or simplify the file, for"
                " example with onnxslim)"
            )


def _source(graph: Any, path: Path) -> Any:
    stored = {tensor.name for tensor in graph.initializer}
    if len(graph.sparse_initializer):
        raise UserError(f"{path} holds sparse tensors, which are not taken: export dense ones")
    inputs = [part for part in graph.input if part.name not in stored]
    if len(inputs) != 1:
        named = f" ({', '.join(part.name for part in inputs)})" if inputs else ""
        raise UserError(f"{path} has {len(inputs)} inputs{named}; a network of one input, images, is taken")
    return inputs[0]


def _shape(source: Any, path: Path) -> tuple[int | None, ...]:
    kind = source.type.tensor_type
    if not source.type.HasField("tensor_type") or kind.elem_type == TensorProto.STRING:
        raise UserError(f"{path}: input '{source.name}' is no tensor of numbers")
    if kind.elem_type in _HALF:
        raise UserError(_half(path, f"input '{source.name}'"))
    if kind.elem_type != TensorProto.FLOAT:
        name = TensorProto.DataType.Name(kind.elem_type).lower()
        raise UserError(
            f"{path}: input '{source.name}' is {name}; float32 images are taken: export the network without its"
            " conversion of pixels"
        )
    if not kind.HasField("shape"):
        raise UserError(f"{path}: input '{source.name}' has no shape: export it with one, [batch, channels, H, W]")
    return tuple(part.dim_value if part.dim_value > 0 else None for part in kind.shape.dim)


def _ordered(nodes: list[Any], given: set[str], results: tuple[str, ...], path: Path) -> list[Any]:
    """The nodes that the outputs need, each behind those that it reads."""
    giver: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in giver or name in given:
                raise UserError(f"{path}: '{name}' is given twice, the second time by {shown(node.name, node.output)}")
            giver[name] = index
    needed: dict[int, set[int]] = {}
    waiting = [giver[name] for name in results if name in giver]
    while waiting:
        index = waiting.pop()
        if index in needed:
            continue
        read = [name for name in nodes[index].input if name and name not in given]
        for name in read:
            if name not in giver:
                where = shown(nodes[index].name, nodes[index].output)
                raise UserError(f"{path}: {where} reads '{name}', which nothing in the file gives: it is not all there")
        needed[index] = {giver[name] for name in read}
        waiting += needed[index]
    missing = [name for name in results if name not in giver and name not in given]
    if missing:
        near = get_close_matches(missing[0], giver, n=3, cutoff=0.3)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"{path}: nothing in the file gives an output '{missing[0]}'{hint}")
    try:
        order = list(TopologicalSorter({key: sorted(needed[key]) for key in sorted(needed)}).static_order())
    except CycleError as error:
        names = [shown(nodes[index].name, nodes[index].output) for index in error.args[1]]
        raise UserError(f"{path} has a circle: {' reads '.join(names[:4])}") from None
    return [nodes[index] for index in order]


def _tensor(tensor: Any, path: Path) -> Tensor:
    if tensor.data_type in _HALF:
        raise UserError(_half(path, f"'{tensor.name}'"))
    try:
        array = numpy_helper.to_array(tensor, str(path.parent))
    except Exception as error:  # wrong lengths, negative sizes, missing parts of another file
        raise UserError(f"{path}: tensor '{tensor.name}' is damaged ({reason_of(error)})") from None
    array = array.astype(_WIDENED.get(array.dtype.name, array.dtype), copy=False)
    if array.dtype.name not in _TAKEN:
        name = TensorProto.DataType.Name(tensor.data_type).lower()
        raise UserError(f"{path}: tensor '{tensor.name}' is of type {name}, which is not taken: export in float32")
    return torch.from_numpy(array.copy() if array.flags.owndata is False or not array.flags.writeable else array)


def _half(path: Path, what: str) -> str:
    return f"{path}: {what} is of 16 bits; the float32 file is taken, whose numbers were not rounded: export in float32"


def _copy(node: Any) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
