"""Files as somebody may have changed them who knows what they are made of: values of documents, headers, bytes."""

import copy
import json
import struct
from collections.abc import Callable
from typing import Any

import onnx
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto

from tests.robustness.tamper_table import places

Draw = Callable[[st.SearchStrategy[Any]], Any]
_NAMES = ("../x", "/etc/passwd", "x" * 300, "a\x1b[2Jb", "a\0b", "", ".", "²", "[/bold]", "\ud800", "a\nb", "-1", "nan")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, 1e-320, float("nan"), float("inf")]),
    st.sampled_from(_NAMES),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def document(draw: Draw, original: Any) -> Any:
    """A JSON document in which up to three values are another, gone, twice there, or under another name."""
    changed = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(changed))
        if not found:
            return draw(VALUES)
        *path, key = draw(st.sampled_from(found))
        home = changed
        for part in path:
            home = home[part]
        _change(draw, home, key)
    return changed


def _change(draw: Draw, home: Any, key: Any) -> None:
    match draw(st.sampled_from(["value", "gone", "again", "name"])):
        case "value":
            home[key] = draw(VALUES)
        case "gone":
            del home[key]
        case "again" if isinstance(home, list):
            home.append(copy.deepcopy(home[key]))
        case _ if isinstance(home, dict):
            home[draw(st.sampled_from(_NAMES) | st.text(max_size=5))] = home.pop(key)
        case _:
            home[key] = [home[key]]


def text_of(value: Any) -> bytes:
    """JSON, whatever it holds; what JSON has no word for is written as Python does."""
    return json.dumps(value).encode()


def damaged(draw: Draw, content: bytes) -> bytes:
    """Bytes with up to four places flipped, cut, repeated, or filled with others."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip" if data:
                data[place] ^= draw(st.integers(1, 255))
            case "cut":
                del data[place : place + draw(st.integers(1, 200))]
            case "insert":
                data[place:place] = draw(st.binary(max_size=20))
            case _:
                data[place:place] = data[place : place + draw(st.integers(1, 100))]
    return bytes(data)


def safetensors(draw: Draw, content: bytes) -> bytes:
    """The file with another header, or with bytes changed."""
    if draw(st.booleans()):
        return damaged(draw, content)
    (size,) = struct.unpack("<Q", content[:8])
    header = text_of(document(draw, json.loads(content[8 : 8 + size])))
    told = len(header) if draw(st.integers(0, 3)) else draw(st.sampled_from([0, 1, 2**40, 2**64 - 1]))
    return struct.pack("<Q", told) + header + content[8 + size :]


def onnx_file(draw: Draw, content: bytes) -> bytes:
    """The graph with a few nodes, inputs, attributes or tensors changed, or the file with bytes changed."""
    if not draw(st.integers(0, 3)):
        return damaged(draw, content)
    model = onnx.load_from_string(content)
    for _ in range(draw(st.integers(1, 3))):
        _change_graph(draw, model, model.graph)
    return bytes(model.SerializeToString())


def _change_graph(draw: Draw, model: ModelProto, graph: GraphProto) -> None:
    if not graph.node:
        return
    node = graph.node[draw(st.integers(0, len(graph.node) - 1))]
    match draw(st.sampled_from(["operator", "input", "gone", "attribute", "shape", "kind", "data", "opset", "name"])):
        case "operator":
            node.op_type = draw(st.sampled_from(["Conv", "Gemm", "MatMul", "If", "Loop", "QuantizeLinear", "Nothing"]))
        case "input" if node.input:
            node.input[0] = draw(st.sampled_from(["", "nowhere", node.output[0], graph.node[-1].output[0]]))
        case "gone":
            graph.node.remove(node)
        case "attribute":
            kind = draw(st.sampled_from(["axis", "group", "strides", "pads", "alpha"]))
            node.attribute.append(_attribute(draw, kind))
        case "opset":
            model.opset_import[0].version = draw(st.sampled_from([0, -1, 1, 7, 99, 2**40]))
        case "name":
            node.name = draw(st.sampled_from(["", "a\x1b[2Jb", "[/bold]", "x" * 5000]))
        case what if graph.initializer:
            _change_tensor(draw, graph, what)


def _attribute(draw: Draw, name: str) -> AttributeProto:
    numbers = st.sampled_from([0, -1, 7, 2**40])
    if name in ("axis", "group"):
        return onnx.helper.make_attribute(name, draw(numbers))
    if name == "alpha":
        return onnx.helper.make_attribute(name, draw(st.sampled_from(["text", 0.5])))
    return onnx.helper.make_attribute(name, [draw(numbers) for _ in range(3)])


def _change_tensor(draw: Draw, graph: GraphProto, what: str) -> None:
    tensor = graph.initializer[draw(st.integers(0, len(graph.initializer) - 1))]
    match what:
        case "shape":
            tensor.dims[:] = [draw(st.sampled_from([0, -1, 1, 3, 2**40])) for _ in range(draw(st.integers(0, 5)))]
        case "kind":
            tensor.data_type = draw(st.integers(0, 30))
        case _:
            tensor.raw_data = draw(st.binary(max_size=9))
