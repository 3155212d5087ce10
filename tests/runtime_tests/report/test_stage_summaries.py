"""Summaries of the stages are checked where they are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from genq_export.core.errors import UserError
from genq_export.core.workspace import StageResult, Workspace
from runtime_tests.report.model import Storage
from runtime_tests.report.stage_summaries import read_records, read_summaries

EXPORTED: dict[str, Any] = {
    "audit": [{"name": "fc", "op": "Gemm", "integer": False, "detail": "kept in float as asked", "on_purpose": True}],
    "engine": None,
    "opset": 21,
    "ir_version": 10,
    "quantize_linear": 1,
    "dequantize_linear": 2,
    "files": {"model.onnx": 100},
    "storage": {"grid": "W4A4", "weights": "int4 (8-bit layers int8)", "activations": "uint8", "compute": "int8"},
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build whose set was made before and whose export is recorded."""
    found = Workspace.open(tmp_path / "build")
    found.record("calibrate", "c", StageResult([], {"generator": "the set in build/first", "kept": 12}), 1.0)
    found.record("export", "e", StageResult([], EXPORTED), 2.5)
    return found


def test_what_has_not_run_has_no_summary(workspace: Workspace) -> None:
    summaries = read_summaries(workspace)
    assert summaries.quantize is None
    assert summaries.calibrate is not None and (summaries.calibrate.kept, summaries.calibrate.drawn) == (12, None)
    assert summaries.export is not None and summaries.export.audit[0].on_purpose
    assert {name: record.seconds for name, record in read_records(workspace).items()} == {"calibrate": 1, "export": 2.5}


@pytest.mark.parametrize(
    ("stage", "summary", "field"),
    [
        ("calibrate", {"generator": "x", "kept": "many"}, "kept"),
        ("export", {**EXPORTED, "audit": [{"name": "fc"}]}, r"audit\.0\.op"),
        ("export", {"audit": []}, "opset"),
    ],
)
def test_a_damaged_summary_is_named_with_stage_and_field(
    workspace: Workspace, stage: str, summary: dict[str, Any], field: str
) -> None:
    workspace.record(stage, "x", StageResult([], summary), 1.0)
    with pytest.raises(
        UserError, match=rf"damaged at stage '{stage}' \({field}: .*\): run `genq-export {stage}`"
    ) as no:
        read_summaries(workspace)
    assert "\n" not in str(no.value)


def test_the_container_that_an_earlier_release_wrote_in_words_is_read() -> None:
    storage = Storage.model_validate({name: EXPORTED[name] for name in ("storage", "files", "opset", "ir_version")})
    assert storage.storage is not None and storage.storage.weights == "int4"
    assert json.loads(storage.model_dump_json())["storage"]["weights"] == "int4"
    assert Storage.model_validate({}).storage is None
