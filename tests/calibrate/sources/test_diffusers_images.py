"""What decides an image, what a pipeline's own settings are, and what is refused as an image."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from calibrate.generators import Generator
from calibrate.pixels import reject_reason, to_pixels
from calibrate.prompts import Prompt
from calibrate.sources.diffusers_images import default_guidance, default_steps, is_turbo, load_diffusers_images
from genq_export.config.calibrate import CalibrateConfig

SD, SMALL = 64, 8


def pipeline_with(scheduler: Any, sample_size: int = SD) -> Any:
    unet = SimpleNamespace(config=SimpleNamespace(sample_size=sample_size))
    return SimpleNamespace(scheduler=scheduler, unet=unet, vae_scale_factor=8)


@pytest.mark.parametrize(
    ("scheduler", "steps", "guidance"),
    [
        (diffusers.PNDMScheduler(), 50, 3.5),
        (diffusers.DDIMScheduler(clip_sample=False, steps_offset=1), 50, 3.5),
        (diffusers.DPMSolverMultistepScheduler(), 20, 3.5),
        (diffusers.EulerDiscreteScheduler(), 30, 3.5),
        (diffusers.EulerDiscreteScheduler(timestep_spacing="trailing"), 30, 3.5),
        (diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", rescale_betas_zero_snr=True), 30, 3.5),
        (diffusers.LCMScheduler(), 4, 3.5),
    ],
)
def test_settings_follow_the_scheduler_a_pipeline_was_saved_with(scheduler: Any, steps: int, guidance: float) -> None:
    assert default_steps(pipeline_with(scheduler)) == steps
    assert default_guidance(pipeline_with(scheduler)) == guidance


@pytest.mark.parametrize(
    ("name", "noted", "turbo"),
    [
        ("sd-turbo", None, True),
        ("stabilityai/sdxl-turbo@fp16", None, True),
        ("SDXL_Turbo_1.0", None, True),
        ("my-copy", "stabilityai/sd-turbo", True),
        ("sdxl-lightning", None, False),
        ("turbocharged-cars", None, False),
        ("my-copy", None, False),
    ],
)
def test_turbo_is_told_by_name(name: str, noted: str | None, turbo: bool, tmp_path: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline", **({"_name_or_path": noted} if noted else {})}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert is_turbo(Generator(name, tmp_path)) is turbo


def test_turbo_takes_few_steps_and_no_guidance() -> None:
    pipeline = pipeline_with(diffusers.EulerDiscreteScheduler())
    assert default_guidance(pipeline, turbo=True) == 0 and default_steps(pipeline, turbo=True) == 8


def test_tiny_images_need_fewer_steps() -> None:
    assert default_steps(pipeline_with(diffusers.DPMSolverMultistepScheduler(), SMALL)) == 14


def test_an_image_follows_from_its_prompt_and_seed(pipeline_folder: Any) -> None:
    source = load_diffusers_images(Generator("tiny_sd", pipeline_folder), CalibrateConfig(steps=2), "cpu")
    prompts = [Prompt("a photo of a bag", 0), Prompt("a photo of a shoe", 1)]
    first, _ = source.draw(prompts, [1, 2])
    torch.manual_seed(99)
    assert np.array_equal(first, source.draw(prompts, [1, 2])[0])
    assert not np.array_equal(first[0], source.draw(prompts, [3, 2])[0][0])


def test_a_safety_checker_never_blackens_silently(pipeline_folder: Any) -> None:
    source = load_diffusers_images(Generator("tiny_sd", pipeline_folder), CalibrateConfig(steps=1), "cpu")
    ours = source.pipeline

    class Checked:
        vae, unet, scheduler, tokenizer = ours.vae, ours.unet, ours.scheduler, ours.tokenizer

        def __call__(self, **arguments: Any) -> Any:
            return SimpleNamespace(images=torch.rand(2, 3, 16, 16), nsfw_content_detected=[False, True])

    source.pipeline = Checked()
    _, reasons = source.draw([Prompt("a bag", 0)] * 2, [1, 2])
    assert reasons == [None, "safety checker"]


def test_what_is_no_image_is_refused() -> None:
    noise = torch.rand(3, 8, 8)
    assert reject_reason(noise, flagged=False) is None
    assert reject_reason(torch.zeros(3, 8, 8), flagged=False) == "flat"
    assert reject_reason(torch.full((3, 8, 8), 0.4) + 0.001 * noise, flagged=False) == "flat"
    assert reject_reason(torch.full((3, 8, 8), torch.nan), flagged=False) == "not finite"
    broken = torch.tensor([torch.nan, torch.inf, -1.0, 0.5, 1.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_pixels(broken)[0, 0, :, 0].tolist() == [0, 0, 0, 128, 255]
