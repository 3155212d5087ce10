"""The stage on a real build: what it measures, what it keeps, what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from runtime_tests.report.stage import run_report
from runtime_tests.verify.results import VerifyFile
from runtime_tests.verify.stage import run_verify
from runtime_tests.verify.verify_file import read_verification
from tests.runtime_tests.measured import no_speed

QUIET = Progress(quiet=True)


def test_same_build_gives_the_same_measurements(finished: Workspace, config: BuildConfig, model: LoadedModel) -> None:
    first = read_verification(finished).runs[-1]
    run_verify(finished, config, model, QUIET, measure_speed=no_speed)
    (second,) = read_verification(finished).runs

    def untimed(run: Any) -> dict[str, Any]:
        values: dict[str, Any] = run.model_dump(exclude={"latency", "size", "date", "notes", "seconds"})
        for backend in values["backends"]:
            del backend["seconds"]
        return values

    assert untimed(first) == untimed(second)


def test_runs_of_other_machines_stay_and_stale_ones_go(
    finished: Workspace, config: BuildConfig, model: LoadedModel
) -> None:
    own = read_verification(finished).runs[-1]
    there = own.model_copy(update={"machine": own.machine.model_copy(update={"name": "other"})})
    stale = there.model_copy(
        update={"machine": own.machine.model_copy(update={"name": "old"}), "artefacts": {"model.onnx": "0"}}
    )
    finished.write_json("verify.json", VerifyFile(runs=(stale, there, own)).model_dump(mode="json"))
    run_verify(finished, config, model, QUIET, measure_speed=no_speed)
    runs = read_verification(finished).runs
    assert [run.machine.name for run in runs] == ["other", own.machine.name]
    run_report(finished, config, QUIET)
    assert "other" in finished.path("report.html").read_text()


def test_unknown_backend_is_refused(build: Workspace, config: BuildConfig, model: LoadedModel) -> None:
    values = config.model_dump()
    values["verify"]["backends"] = ("onnxrun",)
    with pytest.raises(UserError, match=r"verify\.backends.*onnxrun"):
        run_verify(build, BuildConfig.parse(values), model, QUIET)


def test_three_unlabelled_images_and_missing_pieces(
    build: Workspace, config: BuildConfig, model: LoadedModel, few_images: Path, tmp_path: Path
) -> None:
    """No labels, no oracle, no deployed file: what is left is measured, the rest is named."""
    folder = tmp_path / "three"
    folder.mkdir()
    for number, image in enumerate(sorted(few_images.rglob("*.png"))[:3]):
        (folder / f"{number}.png").write_bytes(image.read_bytes())
    build.path("model.onnx").unlink()
    build.path("model.safetensors").unlink()
    values = config.model_dump()
    values["verify"]["evaluation"] = folder
    changed = BuildConfig.parse(values)
    run_verify(build, changed, model, QUIET, measure_speed=no_speed)
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
        run_verify(build, alone, mine, QUIET, images, measure_speed=no_speed)
        run = read_verification(build).runs[-1]
        assert run.evaluation is None and run.accuracy == run.agreement == {}
        assert [words in note for note in run.notes if "no evaluation images" in note] == [True]
        compared = {item.backend: (item.images, item.differing) for item in run.fidelity}
        assert compared["onnxruntime"] == (24, 0)
