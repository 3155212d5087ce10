"""A source, a filter and a door of somebody else's: a file and a line of the registry, and the stage runs with them."""

import json
from pathlib import Path

import pytest

from calibrate.preflight import problems
from calibrate.run import run
from calibrate.summary import CalibrateSummary
from genq_export.config.build import BuildConfig
from genq_export.config.registry import DOORS, FILTERS, SOURCES
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.models.source import all_doors, door_path, identity, load_model


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "noise", "tests.calibrate.parts:NOISE")
    monkeypatch.setitem(FILTERS, "margin", "tests.calibrate.parts:MARGIN")
    monkeypatch.setitem(DOORS, "mirror", "tests.calibrate.parts:MIRROR")


def test_the_stage_runs_with_a_new_source_filter_and_door(tmp_path: Path, registered: None) -> None:
    config = BuildConfig.for_model("mirror:fashion_resnet", generator="noise", images=10)
    assert problems(config) == []
    model = load_model(config.model)
    result = run(Workspace.open(tmp_path / "b"), config, model, Progress(quiet=True))
    summary = CalibrateSummary.model_validate(result.summary)
    assert (summary.model, summary.generator, summary.kept) == ("mirror:fashion_resnet", "noise", 10)
    assert list(summary.histograms) == ["energy", "bn_sensitivity", "margin"]
    assert summary.filters["margin_keep"] == 0.5 and summary.reasons["margin"] > 0

    folder = tmp_path / "b" / "calibration"
    assert "| margin keep | 0.5 |" in (folder / "README.md").read_text()
    columns = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])
    assert list(columns)[6:] == ["energy", "bn_sensitivity", "patch_entropy", "margin", "kept", "reason"]
    rows = read_rows(folder)
    kept = {label: [row.scores["margin"] for row in rows if row.kept and row.label == label] for label in range(10)}
    dropped = [row for row in rows if row.reason == "margin"]
    assert all(row.scores["margin"] <= min(kept[row.label or 0]) for row in dropped)


def test_a_set_with_a_filter_that_is_not_known_here_can_be_read(tmp_path: Path, registered: None) -> None:
    config = BuildConfig.for_model("fashion_resnet", generator="noise", images=10)
    run(Workspace.open(tmp_path / "b"), config, load_model(config.model), Progress(quiet=True))
    del FILTERS["margin"]
    assert all("margin" in row.scores for row in read_rows(tmp_path / "b" / "calibration"))


def test_the_new_door_is_asked_like_the_others(registered: None) -> None:
    config = BuildConfig.for_model("mirror:fashion_resnet").model
    assert door_path(config) == "tests.calibrate.parts:MIRROR" and len(all_doors()) == len(DOORS)
    assert identity(config) == "mirror:fashion_resnet"
