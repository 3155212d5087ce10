"""What people bring as a generator, by kind: read right, or refused with one line by plan and load alike."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from safetensors.torch import load_file, save_file

from calibrate import preflight
from calibrate.generators import Generator, find_generator
from calibrate.pipeline_files import common_variant, pipeline_digest, variants_in
from calibrate.pipeline_kind import listed_tasks, task_of
from calibrate.sources.diffusers_images import load_diffusers_images
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.pipeline.build import run_stages
from tests.calibrate.pipelines import (
    PROMPTS,
    censored,
    checkpoint_weights,
    config_of,
    drawn,
    of_class,
    only_in,
    opened,
    pixart,
    remedy,
    saved,
    stable_diffusion_2_1,
    stable_diffusion_xl,
)

WEIGHTED = ("unet", "vae", "text_encoder")


@pytest.fixture
def copied(stable: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stable, tmp_path / "copied"))


def refusal(generator: Path | str, **options: Any) -> str:
    """The line with which plan and load refuse it, which must be the same but for the way out."""
    (problem,) = preflight.problems(config_of(generator, **options))
    with pytest.raises(UserError) as error:
        opened(generator, **options)
    assert problem.startswith(str(error.value)) and "\n" not in problem
    return problem


# Which pipeline it is.


def test_text_to_image_is_what_diffusers_lists() -> None:
    theirs = {kind.__name__ for name, kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.items() if "control" not in name}
    ours = {name for name, task in listed_tasks().items() if task == "text to image"}
    assert ours == theirs - {"HeliosPipeline", "HeliosPyramidPipeline"}
    assert {"StableDiffusionPipeline", "StableDiffusionXLPipeline", "PixArtAlphaPipeline", "FluxPipeline"} <= ours


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("StableDiffusionImg2ImgPipeline", "image to image"),
        ("StableDiffusionXLInpaintPipeline", "inpainting"),
        ("StableDiffusionUpscalePipeline", "upscaling"),
        ("StableDiffusionLatentUpscalePipeline", "upscaling"),
        ("StableDiffusionInstructPix2PixPipeline", "editing images"),
        ("StableDiffusionDepth2ImgPipeline", "image to image"),
        ("StableDiffusionControlNetPipeline", "following a control image"),
        ("FluxControlPipeline", "following a control image"),
        ("WanPipeline", "video"),
        ("HeliosPipeline", "video"),
        ("AnimateDiffPipeline", "video"),
        ("StableVideoDiffusionPipeline", "video"),
        ("StableAudioPipeline", "audio"),
        ("MusicLDMPipeline", "audio"),
        ("WuerstchenDecoderPipeline", "decoding what another pipeline drew"),
        ("SomethingElse", None),
    ],
)
def test_other_tasks_are_named(name: str, task: str | None, copied: Path) -> None:
    assert task_of(name) == task
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
    assert name in refusal(copied) and str(task or "no text to image") in refusal(copied)


@pytest.mark.parametrize("make", [stable_diffusion_2_1, stable_diffusion_xl, pixart])
def test_text_to_image_is_taken_by_plan_and_load(make: Callable[..., Any], tmp_path: Path) -> None:
    generator = saved(make, tmp_path / "generator")
    assert preflight.problems(config_of(generator), tmp_path) == []
    assert opened(generator).pipeline.__class__.__name__ == make().__class__.__name__


@pytest.mark.parametrize("kind", ["StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"])
def test_saved_pipelines_of_other_tasks_are_refused(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    of_class(kind).save_pretrained(tmp_path / "generator")
    said = refusal(tmp_path / "generator")
    assert kind in said and "--generator DIR" in said


def test_code_of_its_own_is_refused(copied: Path) -> None:
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps({**index, "_class_name": ["mine", "MyPipeline"]}))
    (copied / "mine.py").write_text("raise SystemExit('ran')")
    assert "code of its own" in refusal(copied)


# Which of its files are used.


@pytest.mark.parametrize(
    ("variants", "common"),
    [
        ([{None}, {None, "fp16"}], None),
        ([{"fp16"}, {"fp16"}], "fp16"),
        ([{"fp16"}, {None}], "fp16"),
        ([{"bf16"}, {"bf16", "fp16"}], "bf16"),
        ([{"bf16", "fp16"}, {"bf16", "fp16"}], "fp16"),
        ([{"bf16"}, {"fp16"}], None),
    ],
)
def test_a_variant_is_what_all_have_that_lack_plain_weights(
    variants: list[set[str | None]], common: str | None
) -> None:
    assert common_variant(variants) == common


def test_variants_by_names_of_files() -> None:
    names = {
        "diffusion_pytorch_model.safetensors": {None}, "model.fp16.safetensors": {"fp16"},
        "diffusion_pytorch_model-00001-of-00002.safetensors": {None},
        "model.fp16-00001-of-00002.safetensors": {"fp16"}, "model-00001-of-00002.fp16.safetensors": {"fp16"},
        "diffusion_pytorch_model.non_ema.safetensors": {"non_ema"}, "model.bin": set(), "flax_model.msgpack": set(),
    }  # fmt: skip
    assert {name: variants_in([name]) for name in names} == names


@pytest.mark.parametrize("parts", [WEIGHTED, ("unet",), ("vae", "text_encoder")])
def test_weights_of_a_variant_are_used_and_said(parts: tuple[str, ...], copied: Path, stable: Path) -> None:
    plain = drawn(opened(stable))
    only_in("fp16", copied, *parts)
    assert preflight.problems(config_of(copied)) == []
    said: list[str] = []
    assert np.array_equal(drawn(opened(copied, said)), plain)
    assert any("variant fp16" in line for line in said)


def test_variants_that_do_not_go_together(copied: Path) -> None:
    only_in("fp16", only_in("bf16", copied, "vae"), "unet")
    assert "'unet' fp16; 'vae' bf16" in refusal(copied) or "'vae' bf16; 'unet' fp16" in refusal(copied)


def test_weights_in_several_files(copied: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(copied / "unet")
    whole = drawn(opened(copied))
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(copied / "unet", max_shard_size="40KB")
    shards = sorted((copied / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1 and np.array_equal(drawn(opened(copied)), whole)
    shards[-1].unlink()
    assert f"lacks its weights {shards[-1].name}" in refusal(copied)


@pytest.mark.slow
def test_pickled_weights_are_refused_and_the_conversion_works(copied: Path, stable: Path, tmp_path: Path) -> None:
    pipeline = opened(stable).pipeline
    shutil.rmtree(copied)
    pipeline.save_pretrained(copied, safe_serialization=False)
    said = refusal(copied)
    assert "pickle" in said
    subprocess.run(remedy(said), check=True, cwd=tmp_path, capture_output=True)
    assert np.array_equal(drawn(opened(tmp_path / "NEW")), drawn(opened(stable)))


def test_a_revision_of_the_hubs_cache(stable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("genq_export.models.hub.hub_reachable", lambda: False)
    home = tmp_path / "hub" / "models--owner--name"
    for revision, commit in (("main", "1" * 40), ("v1", "2" * 40)):
        shutil.copytree(stable, home / "snapshots" / commit)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / revision).write_text(commit)
    (home / "snapshots" / ("2" * 40) / "scheduler" / "scheduler_config.json").write_text(
        (stable / "scheduler" / "scheduler_config.json").read_text().replace("v_prediction", "epsilon")
    )
    for name, commit in (("owner/name", "1" * 40), ("owner/name@v1", "2" * 40), (f"owner/name@{'2' * 40}", "2" * 40)):
        found = find_generator(config_of(name))
        assert found.folder == home / "snapshots" / commit and found.name == name
        assert found.identity == f"pipeline {pipeline_digest(found.folder)}"
        assert preflight.problems(config_of(name)) == []
    assert opened("owner/name@v1").pipeline.scheduler.config.prediction_type == "epsilon"
    (problem,) = preflight.problems(config_of("owner/name@v2"))
    assert "hf download owner/name --revision v2" in problem


# All weights in one file.


@pytest.fixture
def checkpoint(stable: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny-v1.safetensors"
    save_file(checkpoint_weights(opened(stable).pipeline), path)
    return path


@pytest.fixture
def configs(stable: Path, tmp_path: Path) -> Path:
    """What says of what the weights are, without weights."""
    return Path(shutil.copytree(stable, tmp_path / "configs", ignore=shutil.ignore_patterns("*.safetensors")))


def test_a_single_file_with_a_folder_of_configs(checkpoint: Path, configs: Path, stable: Path) -> None:
    options = {"generator_config": configs}
    assert preflight.problems(config_of(checkpoint, **options)) == []
    said: list[str] = []
    images = opened(checkpoint, said, **options)
    assert np.array_equal(drawn(images), drawn(opened(stable))) and images.name == "tiny-v1"
    assert any(str(configs) in line for line in said)
    before = preflight.identity(config_of(checkpoint, **options))
    with open(checkpoint, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert preflight.identity(config_of(checkpoint, **options)) != before


def test_a_single_file_without_network_says_how(
    checkpoint: Path, configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("genq_export.models.hub.hub_reachable", lambda: False)
    weights = load_file(checkpoint)
    save_file({**weights, "model.diffusion_model.output_blocks.11.0.skip_connection.weight": torch.ones(1)}, checkpoint)
    (problem,) = preflight.problems(config_of(checkpoint))
    repository = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert "--generator-config DIR" in problem and f"hf download {repository} --include '*.json' '*.txt'" in problem
    home = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    shutil.copytree(configs, home / "snapshots" / ("1" * 40))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("1" * 40)
    assert preflight.problems(config_of(checkpoint)) == []
    assert find_generator(config_of(checkpoint)).folder == home / "snapshots" / ("1" * 40)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.safetensors", {"model.diffusion_model.input_blocks.0.0.weight": (1, 9, 1, 1)}, "for inpainting"),
        ("x.safetensors", {"model.diffusion_model.input_blocks.0.0.weight": (1, 7, 1, 1)}, "for upscaling"),
        ("x.safetensors", {"unet.down.lora_A.weight": (1, 1)}, "is a LoRA"),
        ("x.safetensors", {"fc.weight": (1, 1)}, "not known as a checkpoint of Stable Diffusion 1, 2 or XL"),
        ("x.safetensors", None, "not a safetensors file"),
        ("x.png", None, "a file of another kind"),
    ],
)  # fmt: skip
def test_files_that_are_no_checkpoint(
    name: str, content: dict[str, tuple[int, ...]] | None, words: str, tmp_path: Path
) -> None:
    if content is None:
        (tmp_path / name).write_bytes(b"\xff" * 20)
    else:
        save_file({name: torch.zeros(shape) for name, shape in content.items()}, tmp_path / name)
    (problem, *_) = preflight.problems(config_of(tmp_path / name))
    assert words in problem


@pytest.mark.slow
def test_a_pickled_checkpoint_is_refused_and_the_conversion_works(
    checkpoint: Path, configs: Path, tmp_path: Path
) -> None:
    torch.save({"state_dict": load_file(checkpoint), "global_step": 3}, tmp_path / "old.ckpt")
    (problem, *_) = preflight.problems(config_of(tmp_path / "old.ckpt"))
    subprocess.run(remedy(problem), check=True, cwd=tmp_path)
    new = opened(tmp_path / "NEW.safetensors", generator_config=configs)
    assert np.array_equal(drawn(new), drawn(opened(checkpoint, generator_config=configs)))


# What a pipeline raises, and what it draws in vain.


@pytest.mark.parametrize(
    ("options", "words"),
    [({"draw_size": 17}, "divisible by"), ({"steps": 5000}, "5000 steps")],
)
def test_what_a_call_raises_is_one_line(options: dict[str, Any], words: str, stable: Path) -> None:
    config = BuildConfig.for_model("fashion_resnet", generator=str(stable), **{"steps": 1, **options})
    images = load_diffusers_images(find_generator(config), config.calibrate, "cpu")
    with pytest.raises(UserError, match=words) as error:
        images.draw(PROMPTS, [1, 2])
    assert "\n" not in str(error.value) and "--draw-size" in str(error.value) and "--steps" in str(error.value)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), MemoryError()])
def test_out_of_memory_names_a_smaller_batch(error: Exception, stable: Path) -> None:
    images = opened(stable)

    def fail(*_: object, **__: object) -> None:
        raise error

    images.pipeline.unet.forward = fail
    with pytest.raises(UserError, match=r"--set calibrate\.batch_size=1.*--draw-size"):
        images.draw(PROMPTS, [1, 2])


def test_a_token_beyond_the_table_is_named(copied: Path) -> None:
    images = opened(copied)
    images.pipeline.tokenizer.add_tokens(["bag"])
    with pytest.raises(UserError, match=r"cannot read 'a photo of a bag'.*tokenizer"):
        images.draw(PROMPTS, [1, 2])


def test_a_pipeline_whose_images_are_not_finite_stops(copied: Path, tmp_path: Path) -> None:
    weights = load_file(copied / "vae" / "diffusion_pytorch_model.safetensors")
    save_file(
        {name: part * torch.nan for name, part in weights.items()},
        copied / "vae" / "diffusion_pytorch_model.safetensors",
    )
    assert "not finite; compute in float32 with --device cpu" in useless(copied, tmp_path)


def test_a_pipeline_whose_images_are_all_censored_stops(tmp_path: Path) -> None:
    assert "safety checker; its safety checker takes them" in useless(saved(censored, tmp_path / "g"), tmp_path)


def useless(generator: Path, folder: Path) -> str:
    """What a run ends with whose every image is useless: after few draws, with nothing written that a run reads."""
    config = config_of(generator, images=400, settings=("calibrate.batch_size=4",))
    with pytest.raises(UserError, match=r"the first 16 images of .* are all useless") as error:
        run_stages(config, folder / "build", ("calibrate",), Progress(quiet=True))
    assert not (folder / "build").exists()
    return str(error.value)


def test_a_generator_has_a_place_for_errors(stable: Path) -> None:
    assert Generator("tiny", stable).place == str(stable)
    assert Generator("a/b", stable, hub="a/b").place == "a/b"
