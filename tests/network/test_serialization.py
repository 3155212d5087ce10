"""A quantized graph on disk: what is read equals what was written; what was tampered with is refused, not run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from genq_export.core.errors import UserError
from genq_export.network.files import REFERENCE_FILES, load_reference, save_reference
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def folder(tmp_path: Path, prepared: Prepared) -> Path:
    save_reference(prepared("residual")[0], tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["residual", "gated", "attention"])
def test_a_reference_comes_back_as_it_was(tmp_path: Path, prepared: Prepared, images: Tensor, name: str) -> None:
    gm, _ = prepared(name)
    assert set(save_reference(gm, tmp_path)) == set(REFERENCE_FILES)
    again = load_reference(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(images), gm(images))
        assert torch.equal(again(images[:1]), gm(images[:1]))


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, prepared: Prepared) -> None:
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        save_reference(prepared("residual")[0], tmp_path / part)
    for name in REFERENCE_FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def nodes(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in document["nodes"] if node["op"] == kind]


def set_in(kind: str, key: str, value: object) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        nodes(document, kind)[0][key] = value

    return edit


CODE = "x=__import__('pathlib').Path('ran').touch()"


@pytest.mark.parametrize(
    "edit",
    [
        set_in("call_function", "target", "python.eval"),
        set_in("call_function", "target", "no_such_operator.default"),
        set_in("call_function", "target", "relu.__class__"),
        set_in("call_function", "target", "__class__.__name__"),
        set_in("call_function", "op", "call_method"),
        set_in("call_function", "kwargs", {CODE: 1}),
        set_in("call_function", "args", [{"node": "nowhere"}]),
        set_in("placeholder", "target", CODE),
        set_in("placeholder", "name", CODE),
        set_in("get_attr", "target", "forward.__globals__"),
        set_in("call_module", "target", "no.such.module"),
        lambda document: document.update(version=99),
        lambda document: document.pop("nodes"),
        lambda document: document["modules"].popitem(),
        lambda document: next(iter(document["modules"].values())).update(kind="unheard of"),
    ],
)
def test_a_tampered_structure_is_refused_and_nothing_in_it_runs(
    folder: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    document = json.loads((folder / REFERENCE_FILES[1]).read_text())
    edit(document)
    (folder / REFERENCE_FILES[1]).write_text(json.dumps(document))
    with pytest.raises(UserError):
        load_reference(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_structure_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / REFERENCE_FILES[1]).write_bytes(content)
    with pytest.raises(UserError):
        load_reference(folder)


def test_truncated_missing_and_foreign_tensors_are_refused(folder: Path) -> None:
    path = folder / REFERENCE_FILES[0]
    whole = path.read_bytes()
    tensors = load(whole)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot read"):
        load_reference(folder)
    name = next(name for name in tensors if name.endswith(".codes"))
    for changed in (
        {key: value for key, value in tensors.items() if key != name},
        {**tensors, name: tensors[name][:1].clone()},
        {**tensors, name: tensors[name].float()},
    ):
        save_file(changed, path)
        with pytest.raises(UserError, match="do not fit together"):
            load_reference(folder)
    path.unlink()
    with pytest.raises(UserError, match="cannot read"):
        load_reference(folder)
