"""Networks that cannot come in: tensors that are no weights, files and folders that are no networks, preprocessing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.robustness.inputs.networks import circle, conv, external
from tests.robustness.row import Make, Row, Stock, nothing

if TYPE_CHECKING:
    from torch import Tensor

BUILD = ("-q", "--images", "10", "-o", "out")
TENSORS = "tensors that are no weights of the network"
FILES = "a network file that is none"
FOLDERS = "a folder of timm's that is none"
PREPROCESSING = "preprocessing that cannot be"


def _weights(name: str, change: "Callable[[Tensor], object]", says: str = "w.pth") -> Row:
    """The checkpoint of the network in which one tensor is another."""

    def make(home: Path, stock: Stock) -> None:
        import torch

        from genq_export import zoo

        state: dict[object, object] = dict(zoo.create_model("fashion_resnet").state_dict())
        first = next(iter(state))
        state[first] = change(state[first])  # type: ignore[arg-type]
        torch.save(state, home / "w.pth")

    return Row(TENSORS, name, ("build", "fashion_resnet", *BUILD, "--weights", "w.pth"), says, make, slow=True)


def _of(value: float) -> "Callable[[Tensor], Tensor]":
    return lambda tensor: tensor.clone().fill_(value)


def _network(name: str, content: Callable[[], bytes]) -> Row:
    return Row(FILES, name, ("build", "./m.onnx", *BUILD), "m.onnx|passwd",
               lambda home, stock: (home / "m.onnx").write_bytes(content()) and None)  # fmt: skip


def _folder(name: str, source: str, make: Make = nothing) -> Row:
    return Row(
        FOLDERS,
        name,
        ("build", source, *BUILD, "--generator", "leaves"),
        "model|local-dir|hub|folder|config|weights",
        make,
    )


def _with(name: str, content: bytes) -> Make:
    def make(home: Path, stock: Stock) -> None:
        (home / "t").mkdir()
        (home / "t" / name).write_bytes(content)

    return make


def _preprocessing(*arguments: str) -> Row:
    return Row(
        PREPROCESSING, " ".join(arguments), ("build", "fashion_resnet", *BUILD, *arguments), "input_size|mean|std"
    )


ROWS = (
    _weights("NaN", _of(float("nan"))),
    _weights("infinite", _of(float("inf"))),
    _weights("minus infinite", _of(-float("inf"))),
    _weights("complex", lambda tensor: tensor.to(dtype=__import__("torch").complex64)),
    _weights("sparse", lambda tensor: tensor.to_sparse()),
    _weights("another shape", lambda tensor: tensor.flatten()),
    _weights("text", lambda tensor: "hello"),
    _weights("empty", lambda tensor: tensor[:0]),
    _network("text", lambda: b"hello"),
    _network("empty", lambda: b""),
    _network("half", lambda: conv().SerializeToString()[:120]),
    _network("a circle", circle),
    _network("data outside", lambda: external("../../../etc/passwd")),
    _network("a name that is none", lambda: conv().SerializeToString().replace(b"Conv", b"\x1b[2J")),
    _folder("missing", "local-dir:nowhere"),
    _folder("a file", "local-dir:/etc/passwd"),
    _folder("empty", "local-dir:t", lambda home, stock: (home / "t").mkdir()),
    _folder("text", "local-dir:t", _with("config.json", b"hello")),
    _folder("deep", "local-dir:t", _with("config.json", b"[" * 100_000)),
    _folder("code", "local-dir:t", _with("config.json", json.dumps({"architecture": "os.system"}).encode())),
    _folder("nothing", "local-dir:"),
    _folder("up", "hf-hub:../../x"),
    _preprocessing("--mean", "nan"),
    _preprocessing("--mean", "300,300,300"),
    _preprocessing("--std", "0"),
    _preprocessing("--std", "x"),
    _preprocessing("--input-size", "0,0,0"),
    _preprocessing("--input-size", "3,99999999,1"),
    _preprocessing("--input-size", "3"),
    _preprocessing("--input-size", "9" * 4301),
)  # fmt: skip
