"""Stable Diffusion 1.5's own architecture, with random weights: what works on tiny parts works on the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calibrate.generate import TextToImage, default_batch_size
from calibrate.generators import Generator
from calibrate.prompts import Prompt
from genq_export.config import CalibrateConfig
from genq_export.torchvision_ops import ensure_torchvision
from tests.calibrate.conftest import build_pipeline


@pytest.mark.slow
def test_stable_diffusion_1_5_draws(tmp_path: Path) -> None:
    ensure_torchvision()
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tiny = StableDiffusionPipeline.from_pretrained(build_pipeline(tmp_path / "tiny"))
    tiny.tokenizer.model_max_length = 77
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        bos_token_id=tiny.tokenizer.bos_token_id, eos_token_id=tiny.tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tiny.tokenizer,
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) == 859_520_964, "SD 1.5's UNet"
    pipeline.set_progress_bar_config(disable=True)
    generator = Generator("sd15", tmp_path / "tiny")

    whole = TextToImage(pipeline, generator, CalibrateConfig(), "cpu").sampler
    assert (whole.size, whole.steps, whole.guidance, whole.batch_size) == (512, 50, 3.5, 16)
    source = TextToImage(pipeline, generator, CalibrateConfig(steps=2, size=64, batch_size=2), "cpu")
    pixels, reasons = source.draw([Prompt("a photo of a bag", 0), Prompt("a photo of a shoe", 1)], [1, 2])
    again, _ = source.draw([Prompt("a photo of a bag", 0), Prompt("a photo of a shoe", 1)], [1, 2])
    assert pixels.shape == (2, 64, 64, 3) and len(reasons) == 2 and np.array_equal(pixels, again)


@pytest.mark.parametrize(("size", "batch"), [(32, 64), (256, 64), (512, 16), (768, 4), (1024, 4), (4096, 1)])
def test_batches_shrink_with_the_image(size: int, batch: int) -> None:
    assert default_batch_size(size) == batch
