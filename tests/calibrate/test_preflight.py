"""What is missing is found before anything slow starts, all of it, each with its remedy."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from calibrate import preflight
from calibrate.generators import Generator, cached_folder, find_generator
from calibrate.pipeline_files import folder_problem, image_size, pipeline_digest
from calibrate.sources.diffusers_images import load_diffusers_images
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError

Make = Callable[..., BuildConfig]


@pytest.fixture
def copied(pipeline_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline_folder, tmp_path / "copied"))


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genq_export.models.hub.hub_reachable", lambda: False)


def for_model(name: str, config: BuildConfig) -> BuildConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"name": name})})


def test_a_whole_pipeline_has_no_problems(make_config: Make, tmp_path: Path) -> None:
    assert preflight.problems(for_model("resnet18", make_config()), tmp_path) == []


@pytest.mark.parametrize("name", ["nowhere/to be found", "./missing", "missing", "/missing/folder", "a/b/c"])
def test_a_name_that_is_nothing(name: str, make_config: Make) -> None:
    (problem, *_) = preflight.problems(for_model("resnet18", make_config(generator=name)))
    assert "neither an existing folder nor a hub name" in problem


def test_a_file_is_not_a_generator(make_config: Make, tmp_path: Path) -> None:
    (tmp_path / "sd.safetensors").touch()
    (problem,) = preflight.problems(for_model("resnet18", make_config(generator=str(tmp_path / "sd.safetensors"))))
    assert "is not a safetensors file, or not whole" in problem


@pytest.mark.parametrize("index", [None, "{", "[]", "{}"])
def test_a_folder_that_is_no_pipeline(index: str | None, make_config: Make, tmp_path: Path) -> None:
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    config = for_model("resnet18", make_config(generator=str(tmp_path)))
    (problem,) = preflight.problems(config)
    assert "is not a diffusers pipeline" in problem and "save_pretrained" in problem


def test_an_interrupted_copy_is_named(copied: Path) -> None:
    (copied / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "no weights for 'vae'" in str(folder_problem(copied))
    shutil.rmtree(copied / "tokenizer")
    assert "lacks its component 'tokenizer'" in str(folder_problem(copied))


def test_a_pipeline_that_takes_no_text(copied: Path) -> None:
    index = json.loads((copied / "model_index.json").read_text())
    del index["text_encoder"], index["tokenizer"]
    (copied / "model_index.json").write_text(json.dumps(index))
    assert "without tokenizer and text_encoder" in str(folder_problem(copied))


def test_an_unreachable_hub_comes_with_two_ways_out(
    make_config: Make, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calibrate.generators.cached_folder", lambda name: None)
    (problem,) = preflight.problems(for_model("resnet18", make_config(generator=None)))
    assert "stable-diffusion-v1-5" in problem
    assert "--generator DIR" in problem and "hf download" in problem and "HF_HOME" in problem


def test_an_interrupted_download_in_the_cache_is_found(
    copied: Path, make_config: Make, no_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(copied, snapshot)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    monkeypatch.setattr("calibrate.generators.cached_folder", lambda name: snapshot)
    (problem,) = preflight.problems(for_model("resnet18", make_config(generator="owner/name")))
    assert "incomplete" in problem and "--generator DIR" in problem
    assert find_generator(make_config(generator="owner/name")).identity == f"pipeline {pipeline_digest(snapshot)}"


def test_nothing_cached() -> None:
    assert cached_folder("nobody/has-this") is None


def test_every_problem_in_one_list(
    make_config: Make, no_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1))
    config = make_config(generator="nobody/has-this", templates=tmp_path / "none.txt")
    found = preflight.problems(for_model("vit_base_patch16_224.augreg_in21k", config), tmp_path / "not" / "yet")
    assert len(found) == 4
    assert [word in problem for word, problem in zip(("hub", "templates", "--classes", "MiB"), found, strict=True)]


def test_a_damaged_pipeline_is_one_line(copied: Path, make_config: Make) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot load generator") as error:
        load_diffusers_images(Generator("copied", copied), make_config().calibrate, "cpu")
    assert "\n" not in str(error.value)


def test_embeddings_of_another_width_are_one_line(copied: Path, tmp_path: Path, make_config: Make) -> None:
    config = json.loads((copied / "unet" / "config.json").read_text())
    config["cross_attention_dim"] = 24
    (copied / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot load generator") as error:
        load_diffusers_images(Generator("copied", copied), make_config().calibrate, "cpu")
    assert "\n" not in str(error.value)


def test_identity_follows_the_files(copied: Path, pipeline_folder: Path, make_config: Make) -> None:
    assert pipeline_digest(copied) == pipeline_digest(pipeline_folder)
    before = preflight.identity(make_config(generator=str(copied)))
    (copied / "scheduler" / "scheduler_config.json").write_text("{}")
    assert preflight.identity(make_config(generator=str(copied))) != before


def test_a_large_file_is_told_by_all_of_it(copied: Path) -> None:
    large = copied / "unet" / "diffusion_pytorch_model.safetensors"
    os.truncate(large, 200 << 20)  # sparse
    before = pipeline_digest(copied)
    with open(large, "r+b") as handle:
        handle.seek(100 << 20)
        handle.write(b"\1")
    assert pipeline_digest(copied) != before


@pytest.mark.parametrize("place", ["snapshots/v1", "a b", "models--a--b/snapshots/0123"])
def test_a_folder_is_told_by_its_files_wherever_it_lies(
    place: str, copied: Path, tmp_path: Path, make_config: Make
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    copied.rename(tmp_path / place)
    config = make_config(generator=str(tmp_path / place))
    assert find_generator(config).identity == f"pipeline {pipeline_digest(tmp_path / place)}"
    before = preflight.identity(config)
    with open(tmp_path / place / "unet" / "diffusion_pytorch_model.safetensors", "r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"\1")
    assert preflight.identity(config) != before
    assert preflight.problems(for_model("resnet18", config), tmp_path) == []


def test_what_is_no_part_of_a_pipeline_does_not_count(copied: Path) -> None:
    before = pipeline_digest(copied)
    (copied / "all-in-one.ckpt").write_bytes(b"1")
    (copied / "unet" / ".cache").write_bytes(b"1")
    assert pipeline_digest(copied) == before


@pytest.mark.parametrize(("given", "name"), [(".", "tiny_sd"), ("..", "above"), ("../tiny_sd/", "tiny_sd")])
def test_a_pipeline_in_the_current_folder_has_a_name(
    given: str, name: str, copied: Path, tmp_path: Path, make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "above").mkdir()
    copied.rename(tmp_path / "above" / "tiny_sd")
    monkeypatch.chdir(tmp_path / "above" / "tiny_sd")
    assert find_generator(make_config(generator=given)).name == name


def test_size_is_known_without_loading(pipeline_folder: Path, make_config: Make) -> None:
    assert image_size(pipeline_folder) == 16 and image_size(None) == 512


@pytest.mark.parametrize("options", ["", "generator='leaves'", "generator='distill'", "calibration_set='.'"])
def test_the_preflight_does_not_import_torch(options: str) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "import genq_export.data.calibration_set; from calibrate.preflight import problems\n"
        "from genq_export.config.build import BuildConfig\n"
        f"problems(BuildConfig.for_model('fashion_resnet', {options}))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_hub_that_times_out_is_one_line_with_a_way_out(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*arguments: object, **more: object) -> None:
        raise TimeoutError("The read operation timed out\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", time_out)
    with pytest.raises(UserError, match=r"owner/name: The read operation timed out; .*DIR") as error:
        load_diffusers_images(Generator("owner/name", None, hub="owner/name"), make_config().calibrate, "cpu")
    assert "\n" not in str(error.value)
