"""Copies of a file to run in its place; the file itself is never changed.

*watched*: every code tensor is a further output. *fed*: besides, whatever reads codes reads them from inputs of the
graph instead. Fed with the reference's codes, every quantizer shows what it does by itself, however much the ones in
front of it differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from runtime_tests.qdq_file.graph import Quantizer

_GIVEN = "/given"


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to change."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def with_outputs(model: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """A copy with further outputs."""
    copy = copy_of(model)
    present = {part.name for part in (*copy.graph.output, *copy.graph.input)}
    for name in dict.fromkeys(tensors):
        if name not in present:
            copy.graph.output.append(helper.make_empty_tensor_value_info(name))
    return copy


def watched(model: onnx.ModelProto, quantizers: Sequence[Quantizer]) -> onnx.ModelProto:
    """A copy that gives its codes."""
    copy = with_outputs(model, ())
    present = {part.name for part in copy.graph.output}
    for item in quantizers:
        if item.tensor not in present:
            copy.graph.output.append(helper.make_tensor_value_info(item.tensor, item.dtype, None))
    return copy


def fed(model: onnx.ModelProto, quantizers: Sequence[Quantizer], codes: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A watched copy in which codes are read from inputs of the graph, `fed_name` of each.

    codes: of one run, whose shapes the inputs have.
    """
    copy = watched(model, quantizers)
    read = set[str]()
    for node in copy.graph.node:
        for place, name in enumerate(node.input):
            if name in codes:
                node.input[place] = fed_name(name)
                read.add(name)
    for item in quantizers:
        if item.tensor in read:
            shape = codes[item.tensor].shape
            copy.graph.input.append(helper.make_tensor_value_info(fed_name(item.tensor), item.dtype, shape))
    return copy


def fed_name(tensor: str) -> str:
    """The input that gives a code tensor in a fed copy."""
    return f"{tensor}{_GIVEN}"


def fed_tensors(model: onnx.ModelProto) -> list[str]:
    """The code tensors that a fed copy reads."""
    return [part.name.removesuffix(_GIVEN) for part in model.graph.input if part.name.endswith(_GIVEN)]
