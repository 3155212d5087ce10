"""A build folder in which somebody changed one thing: every field of every file, and what the commands say of it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from genq_export.cli.program import app
from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from genq_export.pipeline.integrity import changes
from genq_export.pipeline.stages import STAGES
from tests.robustness.small_build import export_small
from tests.robustness.tamper_table import (
    OUTPUTS,
    Change,
    Outcome,
    Tampering,
    as_promised,
    changed,
    is_reported,
    make_folder,
    named,
    places,
    table,
    tamper,
    tamper_networks,
    undescribed,
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Tampering]:
    return tamper(make_folder(tmp_path_factory.mktemp("tampered") / "build"))


def test_every_field_of_a_record_has_an_expected_outcome() -> None:
    assert not undescribed(), "say in RECORD_FIELDS what a change of these leads to"


@pytest.mark.parametrize(
    "file",
    ["manifest.json", "config.yaml", "verify.json", "report.json", "calibration/metadata.jsonl", "engine.json"],
)
def test_every_change_of_a_field_has_the_outcome_that_is_promised(rows: list[Tampering], file: str) -> None:
    of_file = [row for row in rows if row.file == file]
    assert len(of_file) > 20
    wrong = [row for row in of_file if not as_promised(row)]
    assert not wrong, f"{wrong}\n{table(rows)}"


@pytest.mark.slow
def test_every_field_of_a_networks_structure_is_refused_or_noticed(tmp_path: Path) -> None:
    rows = tamper_networks(Workspace(export_small(tmp_path)))
    assert {row.file for row in rows} == {"model.json", "reference.json"} and len(rows) > 200
    assert not [row for row in rows if not as_promised(row)]
    counts = Counter(row.outcome for row in rows)
    assert counts[Outcome.REFUSED] > counts[Outcome.NOTICED] > 0


@pytest.mark.parametrize("file", ["verify.json", "report.json", "engine.json"])
def test_changes_are_told_apart(rows: list[Tampering], file: str) -> None:
    """The table can fail: both ways of noticing a change occur."""
    counts = Counter(row.outcome for row in rows if row.file == file)
    assert counts[Outcome.REFUSED] and counts[Outcome.NOTICED] and not counts[Outcome.SHOWN]


def test_a_file_that_is_as_it_was_is_not_noticed(tmp_path: Path) -> None:
    workspace = make_folder(tmp_path / "build")
    assert all(workspace.is_fresh(stage, f"identity of {stage}") for stage in STAGES)


def test_changes_reach_every_field() -> None:
    document = {"a": [{"b": None}, {"b": 2}], "c": {"d": True}}
    assert [named(place) for place in places(document)] == ["a", "a.*", "a.*.b", "c", "c.d"]
    assert changed(document, ("a", 0, "b"), Change.VALUE) == {"a": [{"b": "another"}, {"b": 2}], "c": {"d": True}}
    assert changed(document, ("c",), Change.GONE) == {"a": [{"b": None}, {"b": 2}]}
    assert changed(document, ("c",), Change.VALUE) is None


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "build").folder


FILES = [*sorted(name for stage, names in OUTPUTS.items() for name in names if stage != "report"), "config.yaml"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", ["one byte", "emptied", "gone"])
def test_of_a_changed_file_nothing_is_reported(
    build: Path, capsys: pytest.CaptureFixture[str], file: str, harm: str
) -> None:
    assert is_reported(Workspace.existing(build))
    content = bytearray((build / file).read_bytes())
    content[-1] ^= 1
    if harm == "gone":
        (build / file).unlink()
    else:
        (build / file).write_bytes(b"" if harm == "emptied" else content)
    assert command("report", str(build)) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and f"{file} is not the " in said.err
    assert "genq-export verify" in said.err if file == "verify.json" else "genq-export build --config" in said.err
    assert not (build / "report.html").exists()


def test_a_folder_that_travels_without_its_calibration_set_is_reported(build: Path) -> None:
    shutil.rmtree(build / "calibration")
    assert changes(Workspace.existing(build)) == []


def test_a_verification_of_other_files_is_none(build: Path) -> None:
    """As after an export that was not verified: every file is as its stage left it."""
    workspace = Workspace.existing(build)
    workspace.write_bytes("model.onnx", b"another")
    workspace.rehash("export")
    (found,) = changes(workspace)
    assert found.startswith("verify.json was measured of another model.onnx: run `genq-export verify")


@pytest.mark.parametrize("place", ["report.json", "model.onnx"])
def test_two_builds_are_compared_only_where_neither_has_changed(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    other = Path(shutil.copytree(build, tmp_path / "other"))
    assert command("report", str(build), str(other)) == 0
    (other / place).write_bytes((other / place).read_bytes() + b" ")
    capsys.readouterr()
    assert command("report", str(build), str(other)) == 1
    assert f"{other} has changed" in capsys.readouterr().err


def command(*arguments: str) -> int:
    return int(app(list(arguments), standalone_mode=False) or 0)


def test_a_manifest_without_a_file_that_is_needed_is_no_reason_to_trust_it(tmp_path: Path) -> None:
    from genq_export.runtimes.load import load

    workspace = make_folder(tmp_path / "build")
    manifest = json.loads(workspace.path("manifest.json").read_text())
    del manifest["stages"]["export"]["outputs"]["model.onnx"]
    workspace.write_json("manifest.json", manifest)
    with pytest.raises(UserError, match="not the file that this build exported"):
        load(workspace.folder)
