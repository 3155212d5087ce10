"""How fast a GPU draws: a pipeline of Stable Diffusion 1.5's shape with random weights, as fast as trained ones.

The shapes are those of the published configuration of the pipeline `stable-diffusion-v1-5/stable-diffusion-v1-5`; no
weights are downloaded.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Shape:
    """Arguments of the U-Net and the autoencoder, and width and length of the text embedding."""

    unet: dict[str, Any] = field(
        default_factory=lambda: {
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        }
    )
    vae: dict[str, Any] = field(
        default_factory=lambda: {
            "sample_size": 512,
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
        }
    )
    text_width: int = 768
    text_length: int = 77


SMALL = Shape(
    unet={
        "sample_size": 8, "block_out_channels": (32, 64), "cross_attention_dim": 16, "attention_head_dim": 8,
        "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    vae={
        "sample_size": 16, "block_out_channels": (32, 32), "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    },
    text_width=16, text_length=5,
)  # fmt: skip
"""For a rehearsal on the CPU: 16 pixels."""


def images_per_second(device: str, dtype: torch.dtype, shape: Shape, pixels: int, steps: int, batch: int) -> float:
    """Draw one batch after a short warm-up, with classifier-free guidance; images a second, decoding included.

    The text encoder, which runs once a batch, is left out.
    """
    pipeline = _pipeline(shape).to(device, dtype)
    pipeline.set_progress_bar_config(disable=True)
    embeddings = torch.randn(2, batch, shape.text_length, shape.text_width, device=device, dtype=dtype)

    def draw(count: int) -> None:
        pipeline(
            prompt_embeds=embeddings[0],
            negative_prompt_embeds=embeddings[1],
            height=pixels,
            width=pixels,
            num_inference_steps=count,
            guidance_scale=3.5,
            output_type="pt",
        )
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    draw(2)
    started = time.perf_counter()
    draw(steps)
    return batch / (time.perf_counter() - started)


def _pipeline(shape: Shape) -> Any:
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    return StableDiffusionPipeline(
        vae=AutoencoderKL(**shape.vae),
        unet=UNet2DConditionModel(**shape.unet),
        scheduler=DPMSolverMultistepScheduler(),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
