"""Exported programs: the same answers and names as the network, nothing of the file run, and what is refused."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calibrate.filters.filter import filters_for
from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import identity, load_model, problems
from genq_export.network.files import load_reference
from genq_export.pipeline.build import run_stages
from tests.networks import SIZE, AttentionBlock, GatedNet, ResidualNet, randomise_norms

FREE = ({0: torch.export.Dim("batch", min=1, max=1024)},)


class Token(nn.Module):
    """A class token in front of the patches, a size from the batch, a constant, BatchNorm1d."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.register_buffer("scale", torch.full((8,), 1.5), persistent=False)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) * self.scale
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        logits: Tensor = self.head(self.drop(self.norm(x.mean(1)))) + torch.tensor([0.5])
        return logits


class Flat(nn.Module):
    """The number of windows and the batch in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.reshape(x.shape[0] * 16, 48)
        logits: Tensor = self.head(windows).reshape(x.shape[0], 16, 5).mean(1)
        return logits


def saved(network: nn.Module, path: Path, batch: int = 2, free: bool = True, **options: Any) -> Path:
    program = torch.export.export(
        network.eval(), (torch.zeros(batch, *SIZE),), dynamic_shapes=FREE if free else None, **options
    )
    torch.export.save(program, path)
    return path


def loaded(path: Path, **given: Any) -> nn.Module:
    return load_model(ModelConfig(name=str(path), mean=(0.5,), std=(0.5,), **given)).module


def same(module: nn.Module, network: nn.Module, batch: int = 3) -> bool:
    images = torch.randn(batch, *SIZE)
    with torch.no_grad():
        return torch.allclose(module(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ResidualNet, GatedNet, AttentionBlock, Token, Flat])
def test_it_computes_what_the_network_computes(kind: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = randomise_norms(kind()).eval()
    module = loaded(saved(network, tmp_path / "net.pt2"))
    assert same(module, network)
    assert module.state_dict().keys() >= network.state_dict().keys()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", [ResidualNet, AttentionBlock, Token])
def test_a_fixed_batch_is_freed(kind: Callable[[], nn.Module], batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = kind().eval()
    assert same(loaded(saved(network, tmp_path / "net.pt2", batch, free=False)), network, 5)


def test_a_fixed_batch_that_is_everywhere_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a batch of 2.*torch\.export\.Dim\('batch'\)"):
        loaded(saved(Flat(), tmp_path / "net.pt2", free=False))


def test_decomposed_programs_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = randomise_norms(ResidualNet()).eval()
    program = torch.export.export(network, (torch.zeros(2, *SIZE),), dynamic_shapes=FREE).run_decompositions()
    torch.export.save(program, tmp_path / "net.pt2")
    assert same(loaded(tmp_path / "net.pt2"), network)


def test_statistics_of_batchnorm_are_found_by_the_filters(tmp_path: Path) -> None:
    module = loaded(saved(ResidualNet(), tmp_path / "net.pt2"))
    assert isinstance(module.get_submodule("norm"), nn.BatchNorm2d)
    model = LoadedModel("net", module, (3, 8, 8), (0.0,) * 3, (1.0,) * 3, 1.0, "bilinear", None, 4)
    assert "bn_sensitivity" in [each.name for each in filters_for(model)]


def test_weights_from_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, other = saved(ResidualNet(), tmp_path / "net.pt2"), ResidualNet().eval()
    torch.save(other.state_dict(), tmp_path / "other.pth")
    assert same(loaded(path, weights=tmp_path / "other.pth"), other)


def rewritten(path: Path, member: str, change: Callable[[bytes], bytes], target: Path) -> Path:
    """A copy of the archive with one member changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, change(content) if info.filename.endswith(member) else content)
    return target


def with_program(path: Path, change: Callable[[dict[str, Any]], object], target: Path) -> Path:
    def edit(content: bytes) -> bytes:
        program = json.loads(content)
        change(program)
        return json.dumps(program).encode()

    return rewritten(path, "models/model.json", edit, target)


def test_what_torch_would_unpickle_is_not_even_read(tmp_path: Path) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.mkdir, (tmp_path / "executed",)

    network = ResidualNet().eval()
    path = saved(network, tmp_path / "net.pt2")
    evil = rewritten(path, "sample_inputs/model.pt", lambda _: pickle.dumps(Payload()), tmp_path / "evil.pt2")
    assert same(loaded(evil), network)
    assert not (tmp_path / "executed").exists()


def test_a_pickled_tensor_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.mkdir, (tmp_path / "executed",)

    torch.save(Payload(), tmp_path / "payload")
    path = saved(ResidualNet(), tmp_path / "net.pt2")
    one = rewritten(path, "weights/weight_0", lambda _: (tmp_path / "payload").read_bytes(), tmp_path / "one.pt2")
    evil = rewritten(
        one,
        "model_weights_config.json",
        lambda text: text.replace(b'"use_pickle": false', b'"use_pickle": true', 1),
        tmp_path / "evil.pt2",
    )
    with pytest.raises(UserError, match="would run code"):
        loaded(evil)
    assert not (tmp_path / "executed").exists()


def first_node(program: dict[str, Any], **values: Any) -> None:
    program["graph_module"]["graph"]["nodes"][0].update(values)


def with_size(program: dict[str, Any], expression: str) -> None:
    program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": expression}}


def in_train_mode(program: dict[str, Any]) -> None:
    for node in program["graph_module"]["graph"]["nodes"]:
        if "batch_norm" in node["target"]:
            next(one for one in node["inputs"] if one["name"] == "training")["arg"] = {"as_bool": True}


EVIL = "__import__('pathlib').Path('executed').mkdir()"
DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a later torch": (
        lambda p: p.update(schema_version={"major": 99, "minor": 0}, torch_version="9.0"),
        r"schema 99 \(written by torch 9.0\), and schema 8 is read, which torch 2.13 writes: .* ONNX file",
    ),
    "a later schema of this very torch": (
        lambda p: p.update(schema_version={"major": 9, "minor": 0}),
        f"schema 9 .written by torch {torch.__version__.partition('+')[0]}.*schema 8 is read",
    ),
    "an operator that reaches files": (
        lambda p: first_node(p, target="torch.ops.aten.from_file.default"),
        "'from_file.default' is not among",
    ),
    "another library's operator": (lambda p: first_node(p, target="torch.ops.mine.evil.default"), "is not among"),
    "a function of Python": (lambda p: first_node(p, target="os.system"), "'os.system' is not among"),
    "control flow": (lambda p: first_node(p, target="torch.ops.higher_order.cond"), "is not among"),
    "an unknown operator": (lambda p: first_node(p, target="torch.ops.aten.conv2d.other"), "is not among|is not known"),
    "an expression": (lambda p: with_size(p, EVIL), "neither a number nor a free size"),
    "train mode": (in_train_mode, "train mode"),
    "two inputs": (
        lambda p: p["graph_module"]["signature"]["input_specs"].append(
            p["graph_module"]["signature"]["input_specs"][-1]
        ),
        "takes 2 inputs",
    ),
    "half precision": (lambda p: p["graph_module"]["graph"]["tensor_values"]["x"].update(dtype=6), "not float32"),
    "no graph": (lambda p: p.pop("graph_module"), "no exported program|no program"),
    "a node without inputs": (lambda p: first_node(p, inputs=None), "no program"),
    "a name that nobody gave": (
        lambda p: first_node(p, inputs=[{"name": "input", "arg": {"as_tensor": {"name": "y"}}, "kind": 1}]),
        "no program|does not take an input",
    ),
}


@pytest.mark.parametrize(("change", "words"), DAMAGES.values(), ids=DAMAGES)
def test_what_cannot_be_taken_is_one_line(
    change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = with_program(saved(ResidualNet(), tmp_path / "net.pt2"), change, tmp_path / "bad.pt2")
    with pytest.raises(UserError, match=words) as error:
        loaded(path)
    assert "\n" not in str(error.value) and "bad.pt2" in str(error.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_what_is_no_archive_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(UserError, match="no exported program"):
        loaded(tmp_path / "net.pt2")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    (found,) = problems(ModelConfig(name=str(tmp_path / "net.pt2")))
    assert "does not exist" in found


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    path = saved(ResidualNet(), tmp_path / "net.pt2")
    with pytest.raises(UserError, match="larger than its bytes"):
        loaded(rewritten(path, "weights/weight_0", lambda content: content[:-4], tmp_path / "bad.pt2"))


def test_a_size_that_is_free_must_be_given(tmp_path: Path) -> None:
    sizes = ({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
    program = torch.export.export(ResidualNet().eval(), (torch.zeros(2, *SIZE),), dynamic_shapes=sizes)
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(UserError, match="give --input-size"):
        loaded(tmp_path / "net.pt2")
    assert loaded(tmp_path / "net.pt2", input_size=(3, 24, 24))(torch.zeros(2, 3, 24, 24)).shape == (2, 5)
    with pytest.raises(UserError, match="cannot be given another --input-size"):
        loaded(saved(ResidualNet(), tmp_path / "fixed.pt2"), input_size=(3, 24, 24))


def test_the_identity_is_that_of_the_content(tmp_path: Path) -> None:
    path = saved(ResidualNet(), tmp_path / "net.pt2")
    shutil.copy(path, tmp_path / "copy.pt2")
    first, copy = (identity(ModelConfig(name=str(tmp_path / name))) for name in ("net.pt2", "copy.pt2"))
    saved(GatedNet(), path)
    assert first == copy != identity(ModelConfig(name=str(path)))


def test_a_build_keeps_the_names_of_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = saved(randomise_norms(ResidualNet()), tmp_path / "net.pt2")
    config = BuildConfig.for_model(
        str(path), generator="leaves", preset="quick", bits=8, images=4, mean="0.5", std="0.5"
    )
    assert config.folder_name == "net.pt2-w8a8-onnxruntime"
    stages = ("calibrate", "quantize", "export")
    assert run_stages(config, tmp_path / "build", stages, Progress(quiet=True)) == stages
    names = {getattr(part, "name", "") for part in load_reference(tmp_path / "build").parts().values()}
    assert {"stem", "depthwise", "dilated", "head"} <= names
