"""The two stages on a real build: what they write, what they keep, what they refuse."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from runtime_tests.report.assemble import read_report, read_verification
from runtime_tests.report.schema import SCHEMA_FILE, report_schema
from runtime_tests.verify.results import VerifyFile
from runtime_tests.verify.speed import Speed
from runtime_tests.verify.stage import report_summary, run_report, run_verify

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def finished(
    pristine_build: Path, tmp_path_factory: pytest.TempPathFactory, config: BuildConfig, model: LoadedModel
) -> Workspace:
    """A verified and reported build, with a contact sheet."""
    import shutil

    folder = Path(shutil.copytree(pristine_build, tmp_path_factory.mktemp("finished") / "build"))
    (folder / "calibration").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(
        folder / "calibration/contact_sheet.png"
    )
    workspace = Workspace.existing(folder)
    workspace.record("verify", "v", run_verify(workspace, config, model, QUIET), 1.0)
    workspace.record("report", "r", run_report(workspace, config, QUIET), 1.0)
    return workspace


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
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report_summary(report.model_dump(mode="json")))
    shown = console.export_text()
    assert "top-1 float" in shown and "speed-up" in shown


def test_same_build_gives_the_same_measurements(
    finished: Workspace, config: BuildConfig, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_tests.verify import run as verify

    monkeypatch.setattr(verify, "measure_speed", lambda *_: Speed())
    first = read_verification(finished).runs[-1]
    run_verify(finished, config, model, QUIET)
    (second,) = read_verification(finished).runs

    def untimed(run: Any) -> dict[str, Any]:
        values: dict[str, Any] = run.model_dump(exclude={"latency", "size", "date", "notes", "seconds"})
        for backend in values["backends"]:
            del backend["seconds"]
        return values

    assert untimed(first) == untimed(second)


def test_runs_of_other_machines_stay_and_stale_ones_go(
    finished: Workspace, config: BuildConfig, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_tests.verify import run as verify

    monkeypatch.setattr(verify, "measure_speed", lambda *_: Speed())
    own = read_verification(finished).runs[-1]
    there = own.model_copy(update={"machine": own.machine.model_copy(update={"name": "other"})})
    stale = there.model_copy(
        update={"machine": own.machine.model_copy(update={"name": "old"}), "artefacts": {"model.onnx": "0"}}
    )
    finished.write_json("verify.json", VerifyFile(runs=(stale, there, own)).model_dump(mode="json"))
    run_verify(finished, config, model, QUIET)
    runs = read_verification(finished).runs
    assert [run.machine.name for run in runs] == ["other", own.machine.name]
    run_report(finished, config, QUIET)
    assert "other" in finished.path("report.html").read_text()


def test_report_without_verify_says_what_to_run(build: Workspace, config: BuildConfig) -> None:
    with pytest.raises(UserError, match="run `genq-export verify` first"):
        run_report(build, config, QUIET)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2, "runs": []}', b'{"version": 1, "runs": [{}]}', b"[]"])
def test_damaged_verify_file_is_refused(build: Workspace, config: BuildConfig, content: bytes) -> None:
    build.write_bytes("verify.json", content)
    with pytest.raises(UserError, match=r"damaged|another version"):
        run_report(build, config, QUIET)


def test_unknown_backend_is_refused(build: Workspace, config: BuildConfig, model: LoadedModel) -> None:
    values = config.model_dump()
    values["verify"]["backends"] = ("onnxrun",)
    with pytest.raises(UserError, match=r"verify\.backends.*onnxrun"):
        run_verify(build, BuildConfig.parse(values), model, QUIET)


def test_three_unlabelled_images_and_missing_pieces(
    build: Workspace, config: BuildConfig, model: LoadedModel, few_images: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No labels, no oracle, no deployed file: what is left is measured, the rest is named."""
    from runtime_tests.verify import run as verify

    monkeypatch.setattr(verify, "measure_speed", lambda *_: Speed())
    folder = tmp_path / "three"
    folder.mkdir()
    for number, image in enumerate(sorted(few_images.rglob("*.png"))[:3]):
        (folder / f"{number}.png").write_bytes(image.read_bytes())
    build.path("model.onnx").unlink()
    build.path("model.safetensors").unlink()
    values = config.model_dump()
    values["verify"]["evaluation"] = folder
    changed = BuildConfig.parse(values)
    run_verify(build, changed, model, QUIET)
    run = read_verification(build).runs[-1]
    assert run.accuracy == {} and run.evaluation is not None and not run.evaluation.labelled
    assert run.agreement.keys() == {"reference_vs_float"}
    result = run_report(build, changed, QUIET)
    assert result.summary["passed"] is False
    page = build.path("report.html").read_text()
    assert "have no labels" in page and "could not be compared" in page


def test_without_evaluation_images_codes_are_compared_on_the_calibration_set(
    build: Workspace, config: BuildConfig, model: LoadedModel, few_images: Path
) -> None:
    alone = BuildConfig.parse({**config.model_dump(), "verify": {**config.verify.model_dump(), "evaluation": None}})
    mine = replace(model, name="mine")  # which has no test set
    calibration = sorted(few_images.rglob("*.png"))
    for images, words in ((calibration, "on calibration images"), ([], "on random numbers")):
        run_verify(build, alone, mine, QUIET, images)
        run = read_verification(build).runs[-1]
        assert run.evaluation is None and run.accuracy == run.agreement == {}
        assert [words in note for note in run.notes if "no evaluation images" in note] == [True]
        compared = {item.backend: (item.images, item.differing) for item in run.fidelity}
        assert compared["onnxruntime"] == (24, 0)
