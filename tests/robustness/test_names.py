"""Names out of files: none leads out of its folder, and one that does is refused with its line."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibrate.pipeline_files import folder_problem
from calibrate.sources.existing_set import EXISTING_SET
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.paths import LONGEST_NAME, inside, relative_name
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.models.source import load_model
from genq_export.pipeline.build import run_stages
from tests.robustness.sets import QUIET, everything, make_set, with_set

# What no name in a file may be, by kind.
BAD_NAMES = {
    "up": "../X.png",
    "up two": "../../X.png",
    "up in the middle": "images/../../X.png",
    "up and back": "images/../images/X.png",
    "absolute": "/tmp/X.png",
    "two slashes": "//tmp/X.png",
    "empty": "",
    "the folder": ".",
    "backslash": "..\\X.png",
    "drive": "C:\\X.png",
    "NUL": "images/a\0.png",
    "escape": "images/\x1b[2J.png",
    "new line": "images/a\nb.png",
    "C1": "images/\x9b2J.png",
    "half a pair": "images/\ud800.png",
    "long": f"images/{'x' * 300}.png",
    "long in bytes": f"images/{'ü' * 200}.png",
    "deep": "a/" * 600 + "X.png",
}
GOOD_NAMES = (
    "a",
    "images/000000.png",
    "images/ein Bild.png",
    "ü/日本.png",
    "x" * LONGEST_NAME,
    "...",
    "..a",
    ".hidden",
)


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        relative_name(name)
    with pytest.raises(UserError) as caught:
        inside(tmp_path, name)
    said = str(caught.value)
    assert "\n" not in said and "\x1b" not in said and len(said) < 400
    said.encode()


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_of_a_file_in_the_folder_is_taken(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@given(st.text(st.sampled_from("./\\a\0~ü"), max_size=12))
def test_what_is_taken_lies_below(name: str) -> None:
    folder = Path("/nowhere/at/all")
    try:
        place = inside(folder, name)
    except UserError:
        return
    assert os.path.normpath(place).startswith(f"{folder}/")


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_a_set_whose_list_leads_out_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    given_set = make_set(tmp_path / "a" / "b" / "set", name)
    for place in (tmp_path / "a" / "b", tmp_path / "a"):
        Image.new("RGB", (4, 4)).save(place / "X.png")
    before = everything(tmp_path)
    (problem,) = EXISTING_SET.problems(with_set(given_set), tmp_path)
    assert "metadata.jsonl, line 2, is not a row" in problem
    with pytest.raises(UserError):
        run_stages(with_set(given_set), tmp_path / "out" / "build", ("calibrate",), QUIET)
    assert everything(tmp_path) == before
    workspace = Workspace.open(tmp_path / "out" / "build")
    made = everything(tmp_path)
    with pytest.raises(UserError):
        EXISTING_SET.take_over(workspace, with_set(given_set), load_model(ModelConfig(name="fashion_resnet")), QUIET)
    assert everything(tmp_path) == made


@pytest.mark.parametrize(
    "row", ["[]", "1", "{}", "nonsense", '{"file_name": 3}', '{"file_name": "a", "kept": 1}', "[" * 9999]
)
def test_a_row_that_is_none_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    folder = make_set(tmp_path / "set")
    with (folder / "metadata.jsonl").open("a") as handle:
        handle.write(row + "\n")
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 2, is not a row"):
        read_rows(folder)


@pytest.mark.parametrize("key", ["file_name", "label", "class_name", "prompt", "seed", "kept", "reason", "energy"])
def test_a_column_of_another_kind_is_refused(tmp_path: Path, key: str) -> None:
    folder = make_set(tmp_path / "set")
    columns = json.loads((folder / "metadata.jsonl").read_text()) | {key: {"of": "another kind"}}
    (folder / "metadata.jsonl").write_text(json.dumps(columns) + "\n")
    with pytest.raises(UserError, match="line 1, is not a row"):
        read_rows(folder)


# Pipelines: the index names folders beside it.


def index(folder: Path, **parts: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"text_encoder": ["t", "CLIPTextModel"], "tokenizer": ["t", "CLIPTokenizer"], "scheduler": ["d", "DDIM"]}
    content = {
        "_class_name": "StableDiffusionPipeline",
        **parts,
        **{name: usual[name] for name in usual.keys() - parts},
    }
    (folder / "model_index.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", ["../text_encoder", "/etc", "text_encoder/..", "text_encoder/a", "", "a\0", "t\\e"])
def test_a_component_that_is_no_folder_beside_the_index_is_refused(tmp_path: Path, name: str) -> None:
    problem = folder_problem(index(tmp_path, **{name: ["transformers", "CLIPTextModel"]}))
    assert problem is not None and "names a component" in problem


@pytest.mark.parametrize("value", [[], [None], ["a"], [1, 2], [["a"], "b"], "text", 3, {"a": 1}])
def test_a_component_of_another_kind_is_none(tmp_path: Path, value: object) -> None:
    problem = folder_problem(index(tmp_path, text_encoder=value))
    assert problem is not None and "without text_encoder" in problem


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/passwd", "", 3, None])
def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path, name: object) -> None:
    part = index(tmp_path, text_encoder=["transformers", "CLIPTextModel"]) / "text_encoder"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"")
    (part / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": name}}))
    problem = folder_problem(tmp_path)
    assert problem is not None and "cannot lie beside it" in problem
