"""Stable Diffusion 1.5's own architecture, with random weights: what works on tiny parts works on the real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calibrate.generators import Generator
from calibrate.prompts import Prompt
from calibrate.sources.diffusers_images import DiffusersImages, default_batch_size
from genq_export.config.build import BuildConfig
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images
from genq_export.pipeline.build import run_stages
from tests.calibrate.conftest import build_pipeline
from tools.train_zoo.captions import vocabulary
from tools.train_zoo.text import MAX_LENGTH, build_tokenizer


def stable_diffusion_1_5(tokenizer: Any, length: int) -> Any:
    """The architecture of its configs with random weights; a small vocabulary and texts of `length` tokens."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=length, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) == 859_520_964, "SD 1.5's UNet"
    return pipeline


@pytest.mark.slow
def test_stable_diffusion_1_5_draws(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    tiny = StableDiffusionPipeline.from_pretrained(build_pipeline(tmp_path / "tiny"))
    tiny.tokenizer.model_max_length = 77
    pipeline = stable_diffusion_1_5(tiny.tokenizer, 77)
    pipeline.set_progress_bar_config(disable=True)
    generator = Generator("sd15", tmp_path / "tiny")

    whole = DiffusersImages(pipeline, generator, CalibrateConfig(), "cpu").sampler
    assert (whole.size, whole.steps, whole.guidance, whole.batch_size) == (512, 50, 3.5, 16)
    source = DiffusersImages(pipeline, generator, CalibrateConfig(steps=2, size=64, batch_size=2), "cpu")
    pixels, reasons = source.draw([Prompt("a photo of a bag", 0), Prompt("a photo of a shoe", 1)], [1, 2])
    again, _ = source.draw([Prompt("a photo of a bag", 0), Prompt("a photo of a shoe", 1)], [1, 2])
    assert pixels.shape == (2, 64, 64, 3) and len(reasons) == 2 and np.array_equal(pixels, again)


@pytest.mark.slow
def test_a_set_drawn_by_stable_diffusion_1_5_from_its_folder(tmp_path: Path) -> None:
    """Saved, found, loaded and drawn from as `genq-export calibrate fashion_resnet --generator DIR` does."""
    pipeline = stable_diffusion_1_5(build_tokenizer(vocabulary()), MAX_LENGTH)
    pipeline.to(dtype=torch.float16).save_pretrained(tmp_path / "sd15")
    del pipeline
    settings = ("calibrate.steps=1", "calibrate.size=64", "calibrate.batch_size=2", "calibrate.distribution_keep=1")
    config = BuildConfig.for_model("fashion_resnet", generator=str(tmp_path / "sd15"), images=2, settings=settings)
    folder = tmp_path / "build"
    assert run_stages(config, folder, ("calibrate",), Progress(quiet=True)) == ("calibrate",)
    sampler = Workspace.existing(folder).summary("calibrate")["sampler"]
    assert (sampler["size"], sampler["guidance"], sampler["dtype"]) == (64, 3.5, "float32")
    assert len(kept_images(folder / "calibration")) == 2


@pytest.mark.parametrize(("size", "batch"), [(32, 64), (256, 64), (512, 16), (768, 4), (1024, 4), (4096, 1)])
def test_batches_shrink_with_the_image(size: int, batch: int) -> None:
    assert default_batch_size(size) == batch
