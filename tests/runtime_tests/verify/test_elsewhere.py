"""A build folder copied to another machine is verified there from what it holds; nothing measured before is lost."""

import json
import platform
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from genq_export.cli.program import app
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.loaded import LoadedModel
from runtime_tests.report.model import read_report
from runtime_tests.verify import stage
from runtime_tests.verify.results import VerifyFile
from runtime_tests.verify.verify_file import read_verification
from tests.runtime_tests.measured import no_speed

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def home(
    pristine_build: Path, config: BuildConfig, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder verified here, of a build whose weights, generator and images are on this machine only."""
    folder = Path(shutil.copytree(pristine_build, tmp_path_factory.mktemp("home") / "build"))
    values = config.model_dump(mode="json")
    values["model"]["weights"] = str(folder / "gone.safetensors")
    values["calibrate"]["generator"] = "nobody/no-such-pipeline"
    values["verify"]["evaluation"] = str(folder / "images-at-home")
    workspace = Workspace.existing(folder)
    workspace.write_bytes("config.yaml", BuildConfig.parse(values).to_yaml().encode())
    result = stage.run_verify(workspace, config, model, QUIET, measure_speed=no_speed)
    workspace.record("verify", "made at home", result, 1.0)
    return folder


@pytest.fixture
def away(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, copied to a machine of another name."""
    monkeypatch.setattr(stage, "run_verify", partial(stage.run_verify, measure_speed=no_speed))
    monkeypatch.setattr(platform, "node", lambda: "gpu-host")
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(home, tmp_path / "away"))


def command(*arguments: str | Path) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


def test_results_of_another_machine_come_beside_the_old_ones(away: Path, few_images: Path) -> None:
    before = json.loads((away / "verify.json").read_text())
    config = (away / "config.yaml").read_bytes()
    command("verify", away, "--eval", few_images, "--backend", "reference", "--backend", "onnxruntime", "-q")
    after = json.loads((away / "verify.json").read_text())
    assert after["runs"][:-1] == before["runs"]
    first, second = read_verification(Workspace.existing(away)).runs
    assert second.machine.name == "gpu-host" != first.machine.name
    assert any("weights of fashion_resnet are not on this machine" in note for note in second.notes)
    # The reference without its quantizers is the float network, up to the folding of BatchNorm.
    assert second.accuracy["float"].top1 == pytest.approx(first.accuracy["float"].top1, abs=1 / 160)
    assert second.accuracy["onnxruntime"] == first.accuracy["onnxruntime"]
    # The build is as finished as it was: its stage still answers for the same inputs, its config is untouched.
    assert Workspace.existing(away).is_fresh("verify", "made at home")
    assert (away / "config.yaml").read_bytes() == config
    # Codes are compared although only the runtime was named: no build passes on what nobody measured.
    assert [(item.backend, item.against, item.differing) for item in second.fidelity] == [
        ("reference", "oracle", 0),
        ("onnxruntime", "oracle", 0),
    ]
    command("report", away, "-q")
    report = read_report(away)
    assert report.run == second and report.elsewhere == (first,)
    page = (away / "report.html").read_text()
    assert "gpu-host" in page and first.machine.name in page


def test_a_second_run_here_replaces_only_itself(away: Path, few_images: Path, tmp_path: Path) -> None:
    (tmp_path / "fewer").mkdir()
    for image in sorted(few_images.rglob("*.png"))[::40]:
        shutil.copy(image, tmp_path / "fewer")
    for images in (few_images, few_images, tmp_path / "fewer"):
        command("verify", away, "--eval", images, "--backend", "onnxruntime", "-q")
    runs = read_verification(Workspace.existing(away)).runs
    assert [run.evaluation and run.evaluation.n for run in runs] == [160, 160, 4]
    assert [run.machine.name for run in runs[1:]] == ["gpu-host", "gpu-host"]


def test_machines_of_one_name_are_told_apart_by_their_hardware(
    away: Path, few_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.existing(away)
    (first,) = read_verification(workspace).runs
    other = first.model_copy(update={"machine": first.machine.model_copy(update={"cpu": "another processor"})})
    workspace.write_json("verify.json", VerifyFile(runs=(other,)).model_dump(mode="json"))
    monkeypatch.setattr(platform, "node", lambda: first.machine.name)
    command("verify", away, "--eval", few_images, "--backend", "onnxruntime", "-q")
    assert len(read_verification(Workspace.existing(away)).runs) == 2


def test_what_is_missing_is_named_and_nothing_is_written(away: Path, few_images: Path) -> None:
    before = {path: path.read_bytes() for path in away.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"images-at-home does not exist \(--eval"):
        command("verify", away, "-q")
    with pytest.raises(UserError, match="device 'tpu' is not known"):
        command("verify", away, "--eval", few_images, "--device", "tpu", "-q")
    assert {path: path.read_bytes() for path in away.rglob("*") if path.is_file()} == before


def test_a_build_of_another_version_is_refused(away: Path, few_images: Path) -> None:
    manifest = json.loads((away / "manifest.json").read_text()) | {"version": 99}
    (away / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"has version 99, this genq-export writes version 1"):
        command("verify", away, "--eval", few_images, "-q")
    assert len(json.loads((away / "verify.json").read_text())["runs"]) == 1


def test_a_build_that_was_not_exported_cannot_be_verified(tmp_path: Path, config: BuildConfig) -> None:
    workspace = Workspace.open(tmp_path / "new")
    workspace.write_bytes("config.yaml", config.to_yaml().encode())
    workspace.record("quantize", "q", StageResult([]), 1.0)
    with pytest.raises(UserError, match="no finished 'export' stage"):
        command("verify", workspace.folder, "-q")


def test_float_of_the_folder_is_the_float_network(pristine_build: Path, model: LoadedModel, images: np.ndarray) -> None:
    import torch

    from genq_export.pipeline.reverify import float_network

    values = BuildConfig.for_model("fashion_resnet").model_dump()
    values["model"]["weights"] = Path("gone.safetensors")
    found, note = float_network(Workspace.existing(pristine_build), BuildConfig.parse(values))
    assert note is not None and found.input_size == model.input_size and found.class_names == model.class_names
    with torch.no_grad():
        gap = found.module(torch.from_numpy(images)) - model.module(torch.from_numpy(images))
    assert gap.abs().max() < 1e-3
