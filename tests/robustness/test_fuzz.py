"""Files changed at random by somebody who knows their structure: what reads them raises UserError, or takes them.

Every file that a build folder, a checkpoint, a folder of images, a shard or an ONNX file is made of. The slow
part draws ten times as many examples.
"""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.audit.file import audit_file
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from genq_export.data.evaluation import EvaluationSet, read_evaluation_set
from genq_export.data.raw import Reading
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.pipeline.build import read_config
from genq_export.targets import target
from tests.robustness import fuzz
from tests.robustness.inputs.images import png
from tests.robustness.row import Stock
from tests.robustness.tamper_table import FILES, NETWORKS, File

FEW = 6
AMOUNTS = [FEW, pytest.param(10 * FEW, marks=pytest.mark.slow)]
every_amount = pytest.mark.parametrize("examples", AMOUNTS)
Draw = fuzz.Draw


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelConfig(name="fashion_resnet"))


def _try(examples: int, attempt: Callable[[Draw], object]) -> None:
    """Draw examples; an error of the user's is what is meant, any other is a fault."""

    @settings(
        max_examples=examples, deadline=None, derandomize=examples == FEW, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def check(data: st.DataObject) -> None:
        try:
            attempt(data.draw)
        except UserError as error:
            assert str(error).strip()

    check()


@every_amount
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_document_of_a_build_folder(stock: Stock, file: File, examples: int) -> None:
    _documents(Workspace(stock.folder), file, examples)


@every_amount
@pytest.mark.parametrize("file", NETWORKS, ids=lambda file: file.name)
def test_the_structure_of_a_network(stock: Stock, file: File, examples: int) -> None:
    _documents(Workspace(stock.build), file, examples)


def _documents(workspace: Workspace, file: File, examples: int) -> None:
    path = workspace.path(file.name)
    before = path.read_bytes()
    original = json.loads(before)

    def attempt(draw: Draw) -> None:
        content = fuzz.text_of(fuzz.document(draw, original)) + b"\n"
        path.write_bytes(fuzz.damaged(draw, before) if not draw(st.integers(0, 3)) else content)
        file.read(workspace)

    try:
        _try(examples, attempt)
    finally:
        path.write_bytes(before)


@every_amount
def test_the_config_of_a_build(stock: Stock, examples: int) -> None:
    path = stock.folder / "config.yaml"
    before = path.read_bytes()
    original = yaml.safe_load(before)

    def attempt(draw: Draw) -> None:
        content = yaml.safe_dump(fuzz.document(draw, original), explicit_end=True).encode(errors="surrogatepass")
        path.write_bytes(fuzz.damaged(draw, before) if not draw(st.integers(0, 3)) else content)
        read_config(stock.folder)

    try:
        _try(examples, attempt)
    finally:
        path.write_bytes(before)


@every_amount
@pytest.mark.parametrize("file", NETWORKS, ids=lambda file: file.name.replace("json", "safetensors"))
def test_the_tensors_of_a_network(stock: Stock, file: File, examples: int) -> None:
    path = stock.build / file.name.replace(".json", ".safetensors")
    before = path.read_bytes()

    def attempt(draw: Draw) -> None:
        path.write_bytes(fuzz.safetensors(draw, before))
        file.read(Workspace(stock.build))

    try:
        _try(examples, attempt)
    finally:
        path.write_bytes(before)


@every_amount
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_checkpoint(tmp_path: Path, model: LoadedModel, name: str, examples: int) -> None:
    import torch
    from safetensors.torch import save

    buffer = io.BytesIO()
    torch.save(model.module.state_dict(), buffer)
    content = save(model.module.state_dict()) if name.endswith("safetensors") else buffer.getvalue()

    def attempt(draw: Draw) -> None:
        change = fuzz.safetensors if name.endswith("safetensors") else fuzz.damaged
        (tmp_path / name).write_bytes(change(draw, content))
        load_model(ModelConfig(name="fashion_resnet", weights=tmp_path / name))

    _try(examples, attempt)


@every_amount
@pytest.mark.parametrize("kind", ["onnxruntime", "tensorrt"])
def test_an_onnx_file(stock: Stock, tmp_path: Path, kind: str, examples: int) -> None:
    content = (stock.build / "model.onnx").read_bytes()

    def attempt(draw: Draw) -> None:
        (tmp_path / "m.onnx").write_bytes(fuzz.onnx_file(draw, content))
        audit_file(tmp_path / "m.onnx", target(kind).audit)

    _try(examples, attempt)


_PARTS = st.sampled_from(["bag", "coat", "shoe", "[red]", "²", "ü", "a\x1bb", "9" * 200, "-1", "0", "1", "x y"])
_TABLES = st.sampled_from(["labels.csv", "metadata.jsonl", "labels.json", "train.tsv", "classes.txt", "a.xml"])
_CELLS = st.sampled_from(["file_name", "label", "1.png", "bag", "", "²", "../x", "a\0b", '"', ",", "NaN", "9" * 5000])
_FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
_SUFFIXES = st.sampled_from([".png", ".jpg", ".PNG", "", ".gif", ".tiff", ".webp", ".heic", ".txt"])


def _image(draw: Draw) -> bytes:
    return fuzz.damaged(draw, png()) if draw(st.booleans()) else png()


def _table(draw: Draw) -> bytes:
    rows = draw(st.lists(st.lists(_CELLS, max_size=4), max_size=5))
    if draw(st.booleans()):
        return "\n".join(",".join(row) for row in rows).encode()
    return b"\n".join(fuzz.text_of(fuzz.document(draw, {"file_name": "1.png", "label": "bag"})) for _ in rows)


@every_amount
def test_a_folder_of_images(model: LoadedModel, examples: int) -> None:
    def attempt(draw: Draw) -> None:
        with TemporaryDirectory() as home:
            for number in range(draw(st.integers(0, 4))):
                folder = Path(home).joinpath(*draw(st.lists(_PARTS, max_size=2)))
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"image{number}{draw(_SUFFIXES)}").write_bytes(_image(draw))
            for _ in range(draw(st.integers(0, 2))):
                (Path(home) / draw(_TABLES)).write_bytes(_table(draw))
            _look(read_evaluation_set(Path(home), model, Reading("eval")), model)

    _try(examples, attempt)


@every_amount
def test_a_shard(model: LoadedModel, tmp_path: Path, examples: int) -> None:
    labels = {"cls": b"0", "txt": b"bag", "json": b'{"label": 1}'}

    def attempt(draw: Draw) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=draw(_FORMATS)) as archive:
            for number in range(draw(st.integers(0, 4))):
                key = f"{draw(_PARTS)}/{number}"
                suffix = draw(st.sampled_from(sorted(labels)))
                for name, content in ((f"{key}.png", _image(draw)), (f"{key}.{suffix}", labels[suffix])):
                    info = tarfile.TarInfo(name)
                    changed = draw(st.one_of(st.just(content), _CELLS.map(str.encode)))
                    info.size, info.type = len(changed), draw(st.sampled_from([b"0", b"0", b"0", b"2", b"5", b"x"]))
                    archive.addfile(info, io.BytesIO(changed))
        content = buffer.getvalue()
        (tmp_path / "s.tar").write_bytes(fuzz.damaged(draw, content) if draw(st.booleans()) else content)
        _look(read_evaluation_set(tmp_path / "s.tar", model, Reading("eval")), model)

    _try(examples, attempt)


def _look(found: EvaluationSet, model: LoadedModel) -> None:
    """Decode what was taken, as a stage does."""
    for batch in found.batches(model, 4):
        assert batch.shape[1:] == model.input_size
