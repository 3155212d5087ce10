"""What cannot be taken is refused in one line that says where and what to do; nothing outside the folder is read."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from genq_export.core.errors import UserError
from genq_export.models.onnx_import.load import load_network
from tests.models.onnx_import.graphs import draw, write

RELU = helper.make_node("Relu", ["x"], ["y"], name="act")


def _with_external(path: Path, location: str) -> Path:
    write(path, [helper.make_node("Mul", ["x", "w"], ["y"])], {"w": draw(4, 1, 1)})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def _external(path: Path) -> Path:
    (path.parent.parent / "secret").write_bytes(b"0123456789abcdef")
    return _with_external(path, "../secret")


def _linked(path: Path) -> Path:
    (path.parent.parent / "secret").write_bytes(b"0123456789abcdef")
    (path.parent / "w.bin").symlink_to("../secret")
    return _with_external(path, "w.bin")


def _truncated(path: Path) -> Path:
    write(path, [helper.make_node("Mul", ["x", "w"], ["y"])], {"w": draw(4, 1, 1)})
    path.write_bytes(path.read_bytes()[:-40])
    return path


def _text(path: Path) -> Path:
    path.write_text("no network at all\n" * 50)
    return path


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _damaged_tensor(path: Path) -> Path:
    write(path, [helper.make_node("Mul", ["x", "w"], ["y"])], {"w": draw(4, 1, 1)})
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = b"1234"
    path.write_bytes(model.SerializeToString())
    return path


def _half(path: Path) -> Path:
    return write(path, [helper.make_node("Mul", ["x", "w"], ["y"])], {"w": draw(4, 1, 1).astype(np.float16)})


def _control_flow(path: Path) -> Path:
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "b", [], [helper.make_empty_tensor_value_info("b")]
    )
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=body, else_branch=body)
    return write(path, [node], {"c": np.bool_(True)})


def _quantized(path: Path) -> Path:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quant"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    return write(path, nodes, {"s": np.float32(0.1), "z": np.uint8(3)})


def _cycle(path: Path) -> Path:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    return write(path, nodes)


def _strings(path: Path) -> Path:
    write(path, [helper.make_node("Gather", ["w", "x"], ["y"])], {})
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"b"]))
    path.write_bytes(model.SerializeToString())
    return path


def _two_inputs(path: Path) -> Path:
    other = helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1])
    return write(path, [helper.make_node("Mul", ["x", "mask"], ["y"])], inputs=[other])


def _custom(path: Path) -> Path:
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft", name="fast")
    return write(path, [node], imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])


def _single(*arguments: object, **attributes: object) -> Callable[[Path], Path]:
    return lambda path: write(path, [helper.make_node(*arguments, **attributes)])  # type: ignore[arg-type]


def _with(**changes: object) -> Callable[[Path], Path]:
    return lambda path: write(path, [RELU], **changes)  # type: ignore[arg-type]


def _huge(path: Path) -> Path:
    nodes = [helper.make_node("Expand", ["x", "s"], ["e"], name="grow"), helper.make_node("Relu", ["e"], ["y"])]
    return write(path, nodes, {"s": np.array([10**5, 10**5, 1, 4, 6, 8], np.int64)})


def _huge_constant(path: Path) -> Path:
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["e"], name="grow"), helper.make_node("Mul", ["x", "e"], ["y"])]
    return write(path, nodes, {"s": np.array([10**6, 10**6], np.int64)})


def _mixed_batch(path: Path) -> Path:
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["r"], name="flat"),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["r", "m"], ["y"]),
    ]
    return write(path, nodes, {"s": np.array([4, 48], np.int64)}, shape=(1, 4, 6, 8))


REFUSED: list[tuple[str, Callable[[Path], Path], str]] = [
    ("external data elsewhere", _external, r"outside of its own folder .*'\.\./secret' is not .*save it again"),
    ("external data by a link", _linked, r"holds a link, 'w\.bin'"),
    ("external data that is missing", lambda path: _with_external(path, "w.bin"), r"w\.bin, which does not exist"),
    ("truncated", _truncated, "no ONNX file, or not all of one"),
    ("text", _text, "no ONNX file"),
    ("empty", _empty, "no ONNX file"),
    ("damaged tensor", _damaged_tensor, "tensor 'w' is damaged"),
    ("float16 tensor", _half, "'w' is of 16 bits.*export in float32"),
    ("float16 input", _with(kind=TensorProto.FLOAT16), "input 'x' is of 16 bits"),
    ("pixels as integers", _with(kind=TensorProto.UINT8), "input 'x' is uint8; float32 images are taken"),
    ("strings", _strings, "tensor 'w' is of type string"),
    ("string input", _with(kind=TensorProto.STRING), "input 'x' is no tensor of numbers"),
    ("control flow", _control_flow, r"node 'choice' \(If\) is control flow"),
    ("quantized", _quantized, r"node 'quant' \(QuantizeLinear\): the file is quantized already.*genq-export audit"),
    ("circle", _cycle, "has a circle: node"),
    ("missing tensor", _single("Add", ["x", "gone"], ["y"], name="sum"), "node 'sum' reads 'gone', which nothing"),
    ("missing output", _single("Relu", ["x"], ["z"]), "nothing in the file gives an output 'y'"),
    ("two inputs", _two_inputs, r"has 2 inputs \(x, mask\)"),
    ("another domain", _custom, r"node 'fast' \(FusedConv\) is of the domain 'com.microsoft'"),
    ("opset too old", _with(opset=6), "is of opset 6; opsets 7 to 25 are taken"),
    ("opset too new", _with(imports=[helper.make_opsetid("", 99)]), "is of opset 99"),
    ("unknown operator", _single("LSTM", ["x"], ["y"], name="rnn"), r"node 'rnn' \(LSTM\): an operator that is"),
    ("free size", _with(shape=("n", 3, "h", "w")), r"takes images of any size \(3,\?,\?\): give --input-size"),
    ("many images", _with(shape=(8, 4, 6, 8)), "is written for 8 images at once"),
    ("no image", _with(shape=("n", 80)), "takes a tensor of 2 axes"),
    ("huge input", _with(shape=("n", 3, 2**30, 2**30)), "too large"),
    ("huge tensor", _huge, r"node 'grow' \(Expand\).*too large"),
    ("huge constant", _huge_constant, r"node 'grow' \(ConstantOfShape\).*too large"),
    ("wrong attribute", _single("Softmax", ["x"], ["y"], name="s", axis=9), r"'s' \(Softmax\): cannot be computed"),
    ("missing attribute", _single("MaxPool", ["x"], ["y"], name="p"), r"node 'p' \(MaxPool\): cannot be computed"),
    ("no attribute's kind", _single("Relu", [""], ["y"], name="r"), r"node 'r' \(Relu\): input 0 is missing"),
    ("images mixed", _mixed_batch, "first axis of output|images at once|any number"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "said"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_what_cannot_be_taken_is_named(name: str, make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UserError, match=said) as refusal:
        load_network(make(folder / "net.onnx"), None)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.onnx: No such file"):
        load_network(tmp_path / "gone.onnx", None)


def test_a_size_that_the_file_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"takes images of 4,6,8, not of 3,6,8"):
        load_network(write(tmp_path / "n.onnx", [RELU]), (3, 6, 8))


def test_tensors_in_another_file_of_the_folder(tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
             helper.make_node("Gemm", ["f", "w"], ["y"])]  # fmt: skip
    path = write(tmp_path / "n.onnx", nodes, {"w": draw(4, 300)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="n.bin", size_threshold=16)
    assert (tmp_path / "n.bin").is_file()
    loaded = load_network(path, None)
    network, size, classes = loaded.network, loaded.input_size, loaded.classes
    assert (size, classes) == ((4, 6, 8), 300)
    assert numpy_helper.to_array(onnx.load(path).graph.initializer[0]).shape == (4, 300)
    assert [tuple(part.shape) for part in network.parameters()] == [(300, 4)]


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_of_any_kind_is_a_refusal(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed, cut out or cut off anywhere: the file is taken or refused, and nothing else happens."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2, 2], ceil_mode=1),
        helper.make_node("Shape", ["m"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"], axis=0),
        helper.make_node("Concat", ["count", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["m", "sizes"], ["f"]),
        helper.make_node("Softmax", ["f"], ["y"], axis=-1),
    ]
    tensors = {
        "w": draw(5, 4, 3, 3), "b": draw(5), "zero": np.array([0], np.int64), "rest": np.array([-1], np.int64),
    }  # fmt: skip
    path = write(tmp_path / "n.onnx", nodes, tensors)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(("change", "remove", "cut")))
    if kind == "change":
        for place in range(start, min(start + data.draw(st.integers(1, 4)), len(content))):
            content[place] = data.draw(st.integers(0, 255))
    elif kind == "remove":
        del content[start : start + data.draw(st.integers(1, 40))]
    else:
        del content[start:]
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        load_network(path, None)
