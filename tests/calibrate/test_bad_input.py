"""Bad input to the command line: one clear line, exit code 2, nothing half-written."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from genq_export import zoo
from genq_export.cli.app import main
from genq_export.core.workspace import Workspace

Calibrate = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Calibrate:
    """Run `genq-export calibrate …` into `tmp_path/build`; returns the one line it ends with."""

    def run(*arguments: str, model: str = "fashion_resnet") -> str:
        command = ["genq-export", "calibrate", model, "-o", str(tmp_path / "build"), "-q", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert stopped.value.code == 2 and said.out == ""
        assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
        return said.err

    return run


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The zoo's pipeline, to be damaged."""
    return Path(shutil.copytree(zoo.pipeline_folder(), tmp_path / "copied"))


def test_a_folder_that_is_not_a_pipeline(refused: Calibrate, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.jpg").write_bytes(b"no")
    assert "is not a diffusers pipeline" in refused("--generator", str(tmp_path / "photographs"))
    assert not (tmp_path / "build").exists()


def test_a_style_token_of_another_width(refused: Calibrate, tmp_path: Path) -> None:
    save_file({"<style>": torch.randn(24)}, tmp_path / "style.safetensors")
    said = refused("--set", f"calibrate.style={tmp_path / 'style.safetensors'}")
    assert "has 24 dimensions, the text encoder of the generator has 64" in said
    _is_gone(tmp_path / "build")


def test_a_network_without_class_names(refused: Calibrate, tmp_path: Path, pipeline_folder: Path) -> None:
    (tmp_path / "weights.safetensors").touch()
    options = ("--weights", str(tmp_path / "weights.safetensors"), "--generator", str(pipeline_folder))
    assert "has no class names" in refused(*options, model="vit_base_patch16_224.augreg_in21k")
    assert not (tmp_path / "build").exists()


def test_a_class_file_for_another_number_of_classes(refused: Calibrate, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("bag\n")
    assert "names 1 classes, the network fashion_resnet has 10" in refused("--classes", str(tmp_path / "names.txt"))


def test_no_image_can_be_kept(refused: Calibrate, tmp_path: Path) -> None:
    settings = ("calibrate.energy_max=-1e6", "calibrate.pool_limit=1", "calibrate.steps=1")
    said = refused("--images", "2", *(word for setting in settings for word in ("--set", setting)))
    assert "can be kept" in said and "energy above maximum" in said and "--generator" in said
    folder = tmp_path / "build"  # what was drawn is kept for a run with other settings
    assert Workspace.existing(folder).read_manifest().stages == {}
    assert not (folder / "calibration" / "metadata.jsonl").exists()


def test_a_truncated_real_image_among_whole_ones(refused: Calibrate, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    Image.new("CMYK", (40, 30), (10, 200, 30, 0)).save(real / "a.jpg")
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160).save(real / "b.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(real / "c.png")
    (real / "c.png").write_bytes((real / "c.png").read_bytes()[:5000])
    assert f"cannot read image {real / 'c.png'}" in refused("--real", str(real))
    assert not (tmp_path / "build").exists()


def test_a_hub_that_times_out(refused: Calibrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*arguments: object, **more: object) -> None:
        raise TimeoutError("The read operation timed out\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", time_out)
    monkeypatch.setattr("genq_export.models.hub.hub_reachable", lambda: True)
    said = refused("--generator", "owner/name")
    assert "The read operation timed out" in said
    assert "--generator DIR" in said and "hf download owner/name --local-dir DIR" in said
    _is_gone(tmp_path / "build")


def test_a_hub_out_of_reach(refused: Calibrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genq_export.models.hub.hub_reachable", lambda: False)
    assert "--generator DIR" in refused("--generator", "owner/name")
    assert not (tmp_path / "build").exists()


def test_a_download_that_was_interrupted_between_files(refused: Calibrate, copied: Path, tmp_path: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".safetensors.incomplete"))
    said = refused("--generator", str(copied))
    assert "no weights for 'unet'" in said and "incomplete" in said and "--generator DIR" in said
    assert not (tmp_path / "build").exists()


def test_a_download_that_was_interrupted_within_a_file(refused: Calibrate, copied: Path, tmp_path: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    assert "cannot load generator" in refused("--generator", str(copied))
    _is_gone(tmp_path / "build")


def _is_gone(folder: Path) -> None:
    """A command that made the folder and failed before it had anything takes it away again."""
    assert not folder.exists()
