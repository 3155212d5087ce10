"""Checkpoints, class lists, ONNX files, engines and pipelines that are damaged or none."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.robustness.row import Make, Row, Stock, nothing

FLOAT = TensorProto.FLOAT


def _put(name: str, content: bytes) -> Make:
    return lambda home, stock: (home / name).write_bytes(content) and None


def _saved(what: Callable[[], Any]) -> Make:
    def make(home: Path, stock: Stock) -> None:
        import torch

        torch.save(what(), home / "w.pth")

    return make


def _weights(name: str, says: str, make: Make, file: str = "w.pth") -> Row:
    argv = ("build", "fashion_resnet", "-q", "--images", "10", "-o", "out", "--weights", file)
    return Row("weights that are none", name, argv, says, make, slow=True)


class _Runs:
    """What a pickle that runs something looks like."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("hacked",))


def _of_zeros(home: Path, stock: Stock) -> None:
    with zipfile.ZipFile(home / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)


WEIGHTS = (
    _weights("text", "w.pth", _put("w.pth", b"hello")),
    _weights("empty", "w.pth", _put("w.pth", b"")),
    _weights("a pickle that runs", "w.pth", _put("w.pth", pickle.dumps(_Runs()))),
    _weights("a list", "no weights by name", _saved(lambda: [1, 2, 3])),
    _weights("another network", "does not fit", _saved(lambda: {"conv.weight": __import__("torch").zeros(3)})),
    _weights("an archive of zeros", "w.pth", _of_zeros),
    _weights("safetensors of text", "w.safetensors", _put("w.safetensors", b"hello, world, hello"), "w.safetensors"),
    _weights("safetensors that promise", "w.safetensors", _put("w.safetensors", b"\xff" * 8 + b"{}"), "w.safetensors"),
)


def _classes(name: str, says: str, content: bytes | str) -> Row:
    argv = ("build", "fashion_resnet", "-q", "--images", "10", "-o", "out", "--classes", "c.txt")
    data = content.encode() if isinstance(content, str) else content
    return Row("class names that are none", name, argv, says, _put("c.txt", data), slow=True)


CLASSES = (
    _classes("too few", "names 2 classes", "cat\ndog\n"),
    _classes("binary", "c.txt", b"\xff\xfe\x00\x01" * 40),
    _classes("empty", "c.txt", ""),
    _classes("escape", "c.txt", "a\x1b[2Jb\n"),
    _classes("long", "c.txt", "x" * 100_000),
    _classes("deep", "c.txt", "[" * 100_000),
    _classes("twice", "c.txt", "cat\n" * 10),
    _classes("NUL", "c.txt", "\0\n" * 10),
)


def conv(name: str = "conv", tensor: str = "x", bits: int = 8) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", [tensor, "w"], ["y"], name=name)
    given = helper.make_tensor_value_info(tensor, FLOAT, [1, 3, 8, 8])
    found = helper.make_tensor_value_info("y", FLOAT, [1, 2, 6, 6])
    graph = helper.make_graph([node], "g", [given], [found], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _onnx(name: str, says: str, content: Callable[[], bytes], code: int = 2, kind: str = "an ONNX file that is none",
          target: str = "onnxruntime") -> Row:  # fmt: skip
    return Row(kind, name, ("audit", "m.onnx", "--target", target), says,
               lambda home, stock: (home / "m.onnx").write_bytes(content()) and None, code)  # fmt: skip


def external(location: str) -> bytes:
    model = conv()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model.SerializeToString()


def circle() -> bytes:
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    shapes = [helper.make_tensor_value_info(one, FLOAT, [1]) for one in "ab"]
    graph = helper.make_graph(nodes, "g", [], shapes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


ONNX = (
    _onnx("text", "not a valid ONNX", lambda: b"hello"),
    _onnx("empty", "ONNX", lambda: b""),
    _onnx("half", "ONNX", lambda: conv().SerializeToString()[:150]),
    _onnx("outside data", "ONNX", lambda: external("../../../etc/passwd")),
    _onnx("absolute data", "ONNX", lambda: external("/etc/passwd")),
    _onnx("a circle", "ONNX", circle),
    _onnx("lengths", "ONNX", lambda: b"\x3a\xff\xff\xff\xff\x0f" + b"\x00" * 30),
    _onnx("an escape in an error", "ONNX", lambda: conv(tensor="").SerializeToString().replace(b"Conv", b"\x1b[2J")),
)
NAMES = "a name that a terminal would follow"
SHOWN = (
    _onnx("escape", r"a\\x1b\[2Jb", lambda: conv("a\x1b[2Jb").SerializeToString(), 0, NAMES),
    _onnx("markup that ends", r"\[/bold\]x", lambda: conv("[/bold]x").SerializeToString(), 0, NAMES),
    _onnx("markup that colours", r"x\[red\]y", lambda: conv("x[red]y").SerializeToString(), 0, NAMES),
    _onnx("emoji", ":bomb:", lambda: conv(":bomb:").SerializeToString(), 0, NAMES, "tensorrt"),
    _onnx("a C1 control", r"a\\x9b2Jb", lambda: conv("a\x9b2Jb").SerializeToString(), 0, NAMES, "tensorrt"),
    _onnx("right to left", r"a\\u202eb", lambda: conv("a\u202eb").SerializeToString(), 0, NAMES),
    _onnx("lines", "a", lambda: conv("a\r\nb\x0b").SerializeToString(), 0, NAMES),
    _onnx("long", "xxx", lambda: conv("x" * 20_000).SerializeToString(), 0, NAMES),
)


def _engine(name: str, content: bytes, says: str = "no layers|engine") -> Row:
    argv = ("audit", "m.engine", "--target", "tensorrt")
    return Row("an engine that is none", name, argv, says, _put("m.engine", content))


ENGINES = (
    _engine("text", b"hello"),
    _engine("empty", b""),
    _engine("brackets", b"tensor={" * 20_000),
    _engine("brackets in pairs", b"tensor={{}" * 20_000),
    _engine("pairs of pairs", b"tensor={" + b"{}" * 100_000),
    _engine("calls without an end", b"function={ name=_gemm_mha input_args={" * 5_000),
    _engine("a name without an end", b'conv corrltn={ name="' + b"x" * 200_000),
    _engine("quotes", b'function={ name=__myl_ output_args={"' * 8_000),
)


LITTLE = 300 << 20  # bytes of address space beyond what the imports have


def _short(name: str, says: str, *arguments: str, command: str = "build", make: Make = nothing) -> Row:
    return Row("too little memory", name, (command, *arguments, "-q"), says, make, slow=True, memory=LITTLE)


def _pipeline(name: str, says: str, index: bytes) -> Row:
    def make(home: Path, stock: Stock) -> None:
        (home / "g").mkdir()
        (home / "g" / "model_index.json").write_bytes(index)

    return Row("a pipeline that is none", name, ("build", "fashion_resnet", "-q", "-o", "out", "--generator", "g"),
               says, make)  # fmt: skip


def _index(**parts: object) -> bytes:
    return json.dumps({"_class_name": "StableDiffusionPipeline", **parts}).encode()


PIPELINES = (
    _pipeline("text", "model_index.json", b"hello"),
    _pipeline("binary", "model_index.json", b"\xff\xfe\x00"),
    _pipeline("deep", "model_index.json", b"[" * 100_000),
    _pipeline("outside", "component", _index(**{"../x": ["transformers", "CLIPTextModel"]})),
    _pipeline("of another class", "g", json.dumps({"_class_name": "os.system"}).encode()),
    _pipeline("a list", "model_index.json", b"[]"),
    _pipeline("escape", "g", _index(**{"a\x1b[2J": ["transformers", "CLIPTextModel"]})),
    _pipeline("without parts", "g", _index()),
)


def _style(name: str, content: Callable[[], bytes]) -> Row:
    argv = (
        "calibrate",
        "fashion_resnet",
        "-q",
        "--images",
        "10",
        "-o",
        "out",
        "--set",
        "calibrate.style=s.safetensors",
    )
    return Row("a style token that is none", name, argv, "style|s.safetensors", lambda home, stock: (
        home / "s.safetensors").write_bytes(content()) and None, slow=True)  # fmt: skip


def _tensors(**tensors: list[int]) -> bytes:
    import torch
    from safetensors.torch import save

    return save({name: torch.zeros(shape) for name, shape in tensors.items()})


def _build(home: Path, stock: Stock) -> None:
    shutil.copytree(stock.build, home / "b")


DRAW = ("fashion_resnet", "--images", "4096", "-o", "out", "--set", "calibrate.batch_size=4096")
MEMORY = (_short("to draw", "calibrate.batch_size", *DRAW, "--generator", "fashion_sd"),)


STYLES = (
    _style("text", lambda: b"hello"),
    _style("empty", lambda: b""),
    _style("of another width", lambda: _tensors(a=[5])),
    _style("two tensors", lambda: _tensors(a=[64], b=[64])),
    _style("three dimensions", lambda: _tensors(a=[2, 2, 64])),
    _style("a promise", lambda: b"\xff" * 8 + b"{}"),
)

ROWS = (*WEIGHTS, *CLASSES, *ONNX, *SHOWN, *ENGINES, *PIPELINES, *MEMORY, *STYLES)
