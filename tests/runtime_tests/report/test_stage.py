"""The stage on a real build: what it writes and what it refuses."""

import io
import json
import re

import pytest
from rich.console import Console

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from runtime_tests.report.model import Report, read_report
from runtime_tests.report.render.terminal import terminal
from runtime_tests.report.schema import SCHEMA_FILE, report_schema
from runtime_tests.report.stage import run_report
from runtime_tests.verify.results import VerifyFile

QUIET = Progress(quiet=True)


def test_report_json_has_the_agreed_keys(finished: Workspace) -> None:
    report = json.loads(finished.path("report.json").read_text())
    assert {"version", "model", "target", "bits", "passed"} <= report.keys()
    assert {"weights", "activations"} <= report["bits"].keys()
    for name in ("float", "reference", "onnxruntime"):
        assert report["accuracy"][name]["n"] == 160
        assert 0.5 < report["accuracy"][name]["top1"] <= 1
    assert report["agreement"]["onnxruntime_vs_reference"] == 1.0
    assert "reference_vs_float" in report["agreement"]
    assert {"float_ms", "deployed_ms", "speedup", "threads", "method"} <= report["latency"].keys()
    assert report["size"]["deployed_bytes"] < report["size"]["float_bytes"]
    assert all({"name", "value", "threshold", "passed"} <= gate.keys() for gate in report["gates"])
    assert report["passed"] == all(gate["passed"] for gate in report["gates"])


def test_report_is_what_the_published_schema_says(finished: Workspace) -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == report_schema(), "run python -m runtime_tests.report.schema"
    read_report(finished.folder)


def test_page_loads_nothing_and_is_small(finished: Workspace) -> None:
    page = finished.path("report.html").read_text()
    assert len(page.encode()) < 3_000_000
    assert "data:image/jpeg;base64," in page, "a large contact sheet is recompressed"
    rest = re.sub(r'"data:image/[^"]*"', '""', page)
    assert not re.search(r"https?://|src=\"[^\"]|<script|@import|url\(", rest)
    assert "prefers-color-scheme: dark" in rest and "@media print" in rest
    order = [rest.index(f"<h2>{title}") for title in (
        "What did it cost?", "How fast is it?", "Is it faithful?", "Which layers are weak?", "What data was used?",
        "What exactly was built?",
    )]  # fmt: skip
    assert order == sorted(order)


def test_csv_and_markdown_and_terminal_say_the_same(finished: Workspace) -> None:
    report = read_report(finished.folder)
    rows = finished.path("layers.csv").read_text().splitlines()
    assert len(rows) == 1 + len(report.layers) + len(report.run.layers)
    assert report.verdict in finished.path("summary.md").read_text()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal(report))
    shown = console.export_text()
    assert "top-1 float" in shown and "speed-up" in shown


def test_report_without_verify_says_what_to_run(build: Workspace, config: BuildConfig) -> None:
    with pytest.raises(UserError, match="run `genq-export verify` first"):
        run_report(build, config, QUIET)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2, "runs": []}', b'{"version": 1, "runs": [{}]}', b"[]"])
def test_damaged_verify_file_is_refused(build: Workspace, config: BuildConfig, content: bytes) -> None:
    build.write_bytes("verify.json", content)
    with pytest.raises(UserError, match=r"damaged|another version"):
        run_report(build, config, QUIET)


def test_a_report_of_an_earlier_release_is_read(finished: Workspace) -> None:
    """Version 0.1 wrote other names for some fields, and nothing at all for a set that it did not know."""
    report = read_report(finished.folder)
    old = json.loads(report.model_dump_json())
    for gate in old["gates"]:
        gate["sentence"] = gate.pop("message")
    for fidelity in old["run"]["fidelity"]:
        fidelity["unwatched"] = fidelity.pop("probe_effect")
        fidelity["watching_moved"] = fidelity.pop("probe_output_shift")
    old["storage"]["storage"]["weights"] = "int4 (8-bit layers int8)"
    old["calibration"] = {}
    assert report.storage.storage is not None and report.storage.storage.weights == "int4"
    assert Report.model_validate_json(json.dumps(old)) == report
    assert VerifyFile.model_validate_json(json.dumps({"version": 1, "runs": [old["run"]]})).runs == (report.run,)
    assert "sentence" not in report.model_dump_json() and "watching_moved" not in report.model_dump_json()
