"""A build folder in which somebody changed one thing: every field of every file, and what the commands say of it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.pipeline.build import read_config, run_stages
from genq_export.pipeline.fingerprint import stage_fingerprint
from genq_export.pipeline.stages import STAGES, find_stage
from tests.robustness.small_build import export_small
from tests.robustness.tamper_table import (
    OUTPUTS,
    Change,
    Outcome,
    Tampering,
    changed,
    expected,
    make_folder,
    named,
    places,
    table,
    tamper,
    tamper_networks,
    undescribed,
)

UNSEEN = "unseen"


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
    wrong = [row for row in of_file if row.outcome not in expected(row)]
    assert not wrong, f"{wrong}\n{table(rows)}"


@pytest.mark.slow
def test_every_field_of_a_networks_structure_is_refused_or_noticed(tmp_path: Path) -> None:
    rows = tamper_networks(Workspace(export_small(tmp_path)))
    assert {row.file for row in rows} == {"model.json", "reference.json"} and len(rows) > 200
    assert not [row for row in rows if row.outcome not in expected(row)]
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


# One byte of each file, and what `report` says of it. Today it looks at its own files alone; `expected` is what is
# meant, and a row whose `today` has become `expected` loses the exception.
REPORT = [
    ("report.json", Outcome.NOTICED, Outcome.NOTICED),
    ("verify.json", UNSEEN, Outcome.NOTICED),
    ("model.onnx", UNSEEN, Outcome.NOTICED),
    ("model.engine", UNSEEN, Outcome.NOTICED),
    ("engine.json", UNSEEN, Outcome.NOTICED),
    ("model.json", UNSEEN, Outcome.NOTICED),
    ("reference.json", UNSEEN, Outcome.NOTICED),
    ("calibration/metadata.jsonl", UNSEEN, Outcome.NOTICED),
]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose report is up to date."""
    workspace = make_folder(tmp_path_factory.mktemp("reported") / "build")
    identity = stage_fingerprint(find_stage("report"), workspace, read_config(workspace.folder))
    workspace.record("report", identity, StageResult(OUTPUTS["report"], workspace.summary("report")), 1.0)
    return workspace.folder


def test_every_file_that_a_stage_left_is_in_the_table_of_report() -> None:
    assert sorted(file for file, *_ in REPORT) == sorted(name for names in OUTPUTS.values() for name in names)


@pytest.mark.parametrize(("file", "today", "meant"), REPORT)
def test_one_changed_byte_and_the_report(reported: Path, tmp_path: Path, file: str, today: str, meant: str) -> None:
    folder = Path(shutil.copytree(reported, tmp_path / "build"))
    assert run_stages(read_config(folder), folder, ("report",), Progress(quiet=True)) == ()
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)
    assert _seen_by_report(folder) in (today, meant)


def _seen_by_report(folder: Path) -> str:
    try:
        return Outcome.NOTICED if run_stages(read_config(folder), folder, ("report",), Progress(quiet=True)) else UNSEEN
    except UserError:
        return Outcome.NOTICED


def test_a_manifest_without_a_file_that_is_needed_is_no_reason_to_trust_it(tmp_path: Path) -> None:
    from genq_export.runtimes.load import load

    workspace = make_folder(tmp_path / "build")
    manifest = json.loads(workspace.path("manifest.json").read_text())
    del manifest["stages"]["export"]["outputs"]["model.onnx"]
    workspace.write_json("manifest.json", manifest)
    with pytest.raises(UserError, match="not the file that this build exported"):
        load(workspace.folder)
