"""Every form in which people bring weights: what is read from it, what is said, or by which line it is refused."""

import argparse
import copy
import json
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from genq_export.core.errors import UserError
from genq_export.models.checkpoint import read_checkpoint, weights_digest
from genq_export.models.state_dict import fitted, load

State = dict[str, Tensor]


class Small(nn.Module):
    """A stem, a classifier, and buffers of either kind; attention masks hold -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("positions", torch.arange(3))
        self.register_buffer("table", torch.arange(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.fc(self.bn1(self.conv1(x)).mean((2, 3))))


def network(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


def state(seed: int = 1) -> State:
    return dict(network(seed).state_dict())


def prefixed(prefix: str, of: State | None = None) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in (of or state()).items()}


def load_weights(module: nn.Module, path: Path) -> tuple[str, ...]:
    return load(fitted(read_checkpoint(path), module), module)


def averaged() -> State:
    model = AveragedModel(network(1), multi_avg_fn=get_ema_multi_avg_fn(0.9))
    return dict(model.state_dict())


def optimizer() -> dict[str, Any]:
    model = network()
    steps = torch.optim.AdamW(model.parameters())
    model(torch.zeros(2, 3, 8, 8)).sum().backward()
    steps.step()
    return steps.state_dict()


OTHER = state(2)

# What is saved, and what is said of it; the weights are those of `state()`.
READ: dict[str, tuple[Callable[[], object], str]] = {
    "flat": (state, ""),
    "ordered": (lambda: OrderedDict(state()), ""),
    "parameters": (lambda: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in state().items()}, ""),
    "state_dict": (lambda: {"epoch": 3, "state_dict": state()}, ""),
    "model": (lambda: {"model": state(), "optimizer": optimizer(), "loss": torch.tensor(0.1)}, ""),
    "model_state_dict": (lambda: {"model_state_dict": state(), "optimizer_state_dict": optimizer()}, ""),
    "module of DeepSpeed": (lambda: {"module": state(), "dp_world_size": 2}, ""),
    "nested": (lambda: {"model": {"state_dict": state()}}, ""),
    "a word of its own": (lambda: {"classifier_v2": state(), "step": 7}, "under 'classifier_v2'"),
    "timm with averaged weights": (
        lambda: {"state_dict": OTHER, "state_dict_ema": state(), "args": argparse.Namespace(lr=0.1)},
        "averaged weights 'state_dict_ema' were taken",
    ),
    "torchvision's references": (lambda: {"model": OTHER, "model_ema": averaged()}, "averaged weights 'model_ema'"),
    "averaged weights that are none": (lambda: {"state_dict": state(), "state_dict_ema": None}, ""),
    "Lightning": (
        lambda: {"state_dict": prefixed("model.") | {"loss.weight": torch.ones(5)}, "pytorch-lightning_version": "2"},
        r"prefix 'model\.'.*1 tensor beside it not used \('loss\.weight'\)",
    ),
    "distributed": (lambda: prefixed("module."), r"prefix 'module\.'"),
    "compiled": (lambda: prefixed("_orig_mod."), "'_orig_mod' was taken out"),
    "compiled and distributed": (lambda: prefixed("module._orig_mod."), r"'_orig_mod'.*prefix 'module\.'"),
    "compiled inside": (
        lambda: {name.replace("fc.", "fc._orig_mod."): tensor for name, tensor in state().items()},
        "'_orig_mod' was taken out",
    ),
    "backbone": (lambda: prefixed("backbone."), r"prefix 'backbone\.'"),
    "deep prefix": (lambda: prefixed("module.model.backbone."), r"prefix 'module\.model\.backbone\.'"),
    "averaged tower": (lambda: prefixed("model_ema.") | prefixed("model.", OTHER), r"prefix 'model_ema\.'"),
    "float16": (lambda: {k: v.half() if v.is_floating_point() else v for k, v in state().items()}, "float16 weights"),
    "bfloat16": (
        lambda: {k: v.bfloat16() if v.is_floating_point() else v for k, v in state().items()},
        "bfloat16 weights became float32",
    ),
    "float64": (lambda: {k: v.double() if v.is_floating_point() else v for k, v in state().items()}, "float64"),
    "no counter of batches": (lambda: {k: v for k, v in state().items() if "num_batches" not in k}, ""),
    "counters of others": (lambda: state() | {"bn9.num_batches_tracked": torch.tensor(3)}, ""),
    "a buffer that the network makes": (lambda: state() | {"table": torch.arange(9)}, ""),
    "narrow positions": (lambda: state() | {"positions": torch.arange(3, dtype=torch.int32)}, ""),
    "numpy and paths beside it": (lambda: {"state_dict": state(), "best": np.float64(0.9), "from": Path("a")}, ""),
    "classes of others beside it": (lambda: {"state_dict": state(), "config": Small()}, ""),
    "numbers among the tensors": (lambda: state() | {"epoch": 3}, ""),
}


def saved(content: object, path: Path, **options: bool) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("kind", READ)
def test_weights_are_read_as_people_save_them(kind: str, tmp_path: Path) -> None:
    content, note = READ[kind]
    module = network()
    notes = load_weights(module, saved(content(), tmp_path / "weights.pth"))
    tolerance = 1e-2 if kind in ("float16", "bfloat16") else 1e-6
    for name, tensor in module.state_dict().items():
        wanted = network().state_dict()[name] if name.endswith("num_batches_tracked") else state()[name]
        assert tensor.dtype == wanted.dtype
        assert torch.allclose(tensor.double(), wanted.double(), atol=tolerance), name
    said = "; ".join(notes)
    assert re.search(note, said) if note else not said


@pytest.mark.parametrize("name", ["w.bin", "w.pth", "w.pt", "w.ckpt", "w.pth.tar", "w", "w.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_content_decides_not_the_name(name: str, zipped: bool, tmp_path: Path) -> None:
    content = {"state_dict": state(), "args": argparse.Namespace(lr=0.1)}
    path = saved(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    module = network()
    load_weights(module, path)
    assert torch.equal(module.fc.weight, state()["fc.weight"])


def test_a_header_may_begin_like_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for length in range(256):
        save_file(state(), path, metadata={"note": "x" * length})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    load_weights(network(), path)


def sharded(folder: Path, suffix: str = "safetensors") -> Path:
    folder.mkdir()
    parts = [dict(list(state().items())[:4]), dict(list(state().items())[4:])]
    names = [f"model-0000{number + 1}-of-00002.{suffix}" for number in range(2)]
    for name, part in zip(names, parts, strict=True):
        (save_file if suffix == "safetensors" else torch.save)(part, folder / name)
    where = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    index = folder / ("model.safetensors.index.json" if suffix == "safetensors" else "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("folder", [True, False])
def test_shards_are_read_by_their_index(folder: bool, suffix: str, tmp_path: Path) -> None:
    index = sharded(tmp_path / "shards", suffix)
    module = network()
    notes = load_weights(module, index.parent if folder else index)
    assert torch.equal(module.fc.weight, state()["fc.weight"]) and notes == ("read from 2 shards",)


def test_every_shard_decides_the_digest(tmp_path: Path) -> None:
    index = sharded(tmp_path / "shards")
    before = weights_digest(index)
    assert before == weights_digest(index.parent)
    part = index.parent / "model-00002-of-00002.safetensors"
    part.write_bytes(part.read_bytes() + b" ")
    assert weights_digest(index) != before


def test_a_folder_with_one_checkpoint_is_that_checkpoint(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "anything.safetensors")
    (tmp_path / "config.json").write_text("{}")
    module = network()
    load_weights(module, tmp_path)
    assert torch.equal(module.fc.weight, state()["fc.weight"])


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[], State]:
    return lambda: state() | {name: change(state()[name])}


def holed(tensor: Tensor, value: float = torch.nan) -> Tensor:
    tensor = copy.deepcopy(tensor)
    tensor.view(-1)[0] = value
    return tensor


def quantized(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a list": (lambda: [torch.zeros(3)], "holds several objects, no weights by name"),
    "a tensor": (lambda: torch.zeros(3), "holds a Tensor, no weights by name"),
    "nothing": (dict, "holds no state dict"),
    "no tensor": (lambda: {"epoch": 3}, "holds no state dict"),
    "a whole module": (network, r"whole pickled module or object \(tests\.models\.test_state_dict\.Small\)"),
    "a whole module below a word": (lambda: {"model": network(), "epoch": 1}, "whole pickled module"),
    "an optimizer": (optimizer, "state of an optimizer and no weights"),
    "an optimizer below a word": (lambda: {"optimizer": optimizer()}, "state of an optimizer and no weights"),
    "two networks": (lambda: {"student": state(), "teacher": OTHER}, "several places, 'student', 'teacher'"),
    "two towers": (lambda: prefixed("student.") | prefixed("teacher."), r"2 times, 'student\.', 'teacher\.'"),
    "numbers for names": (lambda: {0: torch.zeros(1)}, "0 for the name of a tensor"),
    "sparse": (changed("fc.weight", Tensor.to_sparse), r"'fc\.weight' in .* is sparse"),
    "complex": (changed("fc.weight", lambda x: x.to(torch.complex64)), r"'fc\.weight' in .* is complex"),
    "boolean": (changed("fc.weight", Tensor.bool), r"'fc\.weight' in .* is bool"),
    "integers": (changed("fc.weight", Tensor.char), r"'fc\.weight' in .* is int8, the network has float32"),
    "quantized": (changed("fc.weight", quantized), r"'fc\.weight' in .* is quantized"),
    "no content": (changed("fc.weight", lambda x: x.to("meta")), r"'fc\.weight' in .* is without content"),
    "fractions for positions": (changed("positions", Tensor.float), r"'positions' in .* is float32.*int64"),
    "empty": (changed("fc.weight", lambda x: x[:0]), r"'fc\.weight' is \(0, 4\).*sharded run"),
    "another shape": (changed("fc.weight", lambda x: x[:, :2]), r"'fc\.weight' is \(5, 2\) in the file and \(5, 4\)"),
    "NaN": (changed("fc.weight", holed), r"'fc\.weight' in .* 1 of 20 values that are NaN or infinite"),
    "infinite": (changed("conv1.weight", lambda x: holed(x, -torch.inf)), r"'conv1\.weight'.*NaN or infinite"),
    "NaN statistics": (changed("bn1.running_mean", holed), r"'bn1\.running_mean'.*NaN or infinite"),
    "beyond float32": (changed("fc.weight", lambda x: holed(x.double(), 1e300)), r"'fc\.weight'.*NaN or infinite"),
    "negative variance": (changed("bn1.running_var", lambda x: holed(x, -0.5)), r"'bn1\.running_var'.*-0\.5"),
    "a missing tensor": (lambda: {k: v for k, v in state().items() if k != "fc.bias"}, r"missing 'fc\.bias' \(1 m"),
    "another name": (
        lambda: {name.replace("fc.", "head."): tensor for name, tensor in state().items()},
        r"missing 'fc\.weight', the file has 'head\.weight' \(2 missing, 2 unknown\)",
    ),
    "one tensor more": (lambda: state() | {"fc2.weight": torch.zeros(5, 4)}, r"unknown 'fc2\.weight', the network has"),
    "another network": (lambda: {"a.weight": torch.zeros(2)}, "missing 'mask'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_set_of_weights_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    content, line = REFUSED[kind]
    module = network()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(UserError, match=line) as error:
        load_weights(module, saved(content(), tmp_path / "weights.pth"))
    assert "weights.pth" in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class Payload:
    """Would print when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_never_run(zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"state_dict": state(), "extra": Payload()}
    path = saved(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"evil\.pth is not a plain weights file"):
        load_weights(network(), path)
    assert "executed" not in capsys.readouterr().out


def traced(path: Path) -> None:
    torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(1, 3, 8, 8)), str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("write", "line"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid"), "git lfs pull"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"), "a web page"),
        (lambda path: path.write_bytes(b"GGUF\x03\0\0\0"), "a GGUF file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99), "HDF5"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 99), "cannot read weights"),
        (lambda path: path.write_bytes(b"\x80\x02garbage"), "weights"),
        (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "no file of torch.save"),
        (traced, "TorchScript"),
        (lambda path: path.mkdir(), r"holds none \(\.safetensors"),
    ],
)
def test_another_kind_of_file_is_named(write: Callable[[Path], object], line: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(UserError, match=line) as error:
        load_weights(network(), path)
    assert "weights.pth" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"weight_map": {"a": "../secret.safetensors"}}', "secret"),
        ('{"weight_map": {"a": "lost.safetensors"}}', "names lost.safetensors, which is not there"),
        ('{"weight_map": {}}', "names no file"),
        ('{"weight_map": {"a": 3}}', "no index of shards"),
        ("[]", "no index of shards"),
        ("{", "no index of shards"),
    ],
)
def test_an_index_names_files_beside_it(content: str, line: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(UserError, match=line):
        load_weights(network(), index)
