"""Reading the deployed ONNX graph: where the code tensors are, and which quantizers feed which.

Every activation quantizer left its clipped codes in a tensor named after it (`names.codes_tensor`). A copy of the graph
with these tensors as outputs is what fidelity runs; the file on disk is not touched.

By hand on the protobuf, although onnx-ir keeps producers and readers of its own: making its graph of a file takes 50 ms
for 1,500 nodes, all that is here 14 ms.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from genq_export.core.errors import BackendError
from genq_export.network.names import quantizer_of

_COMPUTING = ("Conv", "Gemm", "MatMul")
_PASSING = ("DequantizeLinear", "Reshape", "Flatten", "Transpose", "Pad", "Squeeze")


CodeType = Literal["uint8", "int8"]


@dataclass(frozen=True)
class QuantizerNode:
    """One activation quantizer in the file, in topological order.

    inputs: the quantizers whose codes it is computed from (empty: the network's input). layers: names of the Conv, Gemm
    and MatMul nodes between them and it. feeds: names of such nodes that read its codes.
    """

    name: str
    tensor: str
    dtype: CodeType
    inputs: tuple[str, ...]
    layers: tuple[str, ...]
    feeds: tuple[str, ...]


def read_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file.

    Raises:
        BackendError: for one that is damaged or missing.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf raises its own DecodeError, onnx several others
        raise BackendError(f"cannot read {path.name}: {str(error).splitlines()[0]}") from None


def deployed_outputs(model: onnx.ModelProto) -> list[str]:
    """Names of what the graph gives."""
    return [output.name for output in model.graph.output]


def quantizers(model: onnx.ModelProto) -> tuple[QuantizerNode, ...]:
    """Every activation quantizer of the graph in topological order."""
    producer = {output: node for node in model.graph.node for output in node.output}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    dtypes = _tensor_types(model)
    found = []
    for node in model.graph.node:
        for tensor in node.output:
            name = quantizer_of(tensor)
            if name is not None:
                inputs, layers = _walk_back(tensor, producer)
                feeds = _readers(tensor, consumers)
                found.append(QuantizerNode(name, tensor, dtypes.get(tensor, "uint8"), inputs, layers, feeds))
    return tuple(found)


def with_code_outputs(model: onnx.ModelProto) -> bytes:
    """Serialised copy of the model with every code tensor as an additional output."""
    return bytes(model.SerializeToString()) + code_outputs(model)


def code_outputs(model: onnx.ModelProto) -> bytes:
    """What makes every code tensor a further output where it is put behind the bytes of the file.

    Protobuf merges messages that follow each other: this is a model of nothing but outputs.
    """
    added = onnx.ModelProto()
    present = {output.name for output in model.graph.output}
    for quantizer in quantizers(model):
        if quantizer.tensor not in present:
            kind = onnx.TensorProto.INT8 if quantizer.dtype == "int8" else onnx.TensorProto.UINT8
            added.graph.output.append(onnx.helper.make_tensor_value_info(quantizer.tensor, kind, None))
    return bytes(added.SerializeToString(deterministic=True))


def _walk_back(start: str, producer: dict[str, onnx.NodeProto]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Code tensors and computing nodes met first on every path back from `start`."""
    inputs: dict[str, None] = {}
    layers: dict[str, None] = {}
    pending, seen = list(producer[start].input), {start}
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        quantizer = quantizer_of(name)
        if quantizer is not None:
            inputs[quantizer] = None
        elif name in producer:
            node = producer[name]
            if node.op_type in _COMPUTING:
                layers[node.name or name] = None
            pending.extend(node.input)
    return tuple(inputs), tuple(layers)


def _readers(start: str, consumers: dict[str, list[onnx.NodeProto]]) -> tuple[str, ...]:
    """Computing nodes that read `start` through its dequantizers and shape operators only."""
    readers: dict[str, None] = {}
    pending, seen = [start], set()
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        for node in consumers.get(name, []):
            if node.op_type in _COMPUTING:
                readers[node.name or node.output[0]] = None
            elif node.op_type in _PASSING:
                pending.extend(node.output)
    return tuple(readers)


def _tensor_types(model: onnx.ModelProto) -> dict[str, CodeType]:
    """Element type of every code tensor: that of the zero-point of the QuantizeLinear it came from."""
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t.data_type
    types: dict[str, CodeType] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            zero_point = node.input[2] if len(node.input) > 2 else ""
            types[node.output[0]] = "int8" if constants.get(zero_point) == onnx.TensorProto.INT8 else "uint8"
        elif node.op_type in ("Clip", "Identity", "Max", "Min") and node.input[0] in types:
            types[node.output[0]] = types[node.input[0]]
    return {name: kind for name, kind in types.items() if quantizer_of(name) is not None}


def layer_names(nodes: Iterable[str]) -> str:
    """`a`, or `a and b`, or `a, b and c`."""
    names = list(nodes)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
