"""The text-to-image pipeline as a whole: put together after training, loaded, and asked for images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from tools.train_zoo.autoencoder import build_autoencoder
from tools.train_zoo.captions import vocabulary
from tools.train_zoo.diffusion import NOISE, build_unet
from tools.train_zoo.libraries import diffusers
from tools.train_zoo.styles import Images
from tools.train_zoo.text import build_text_encoder, build_tokenizer


def write_pipeline(checkpoint: Path, vae: Path, folder: Path) -> Path:
    """Assemble the averaged weights and the autoencoder into a `StableDiffusionPipeline`, saved as float16."""
    tokenizer = build_tokenizer(vocabulary())
    model = nn.ModuleDict({"unet": build_unet(), "text_encoder": build_text_encoder(tokenizer)})
    average = torch.load(checkpoint, weights_only=True)["average"]
    prefix = "module."
    model.load_state_dict({key.removeprefix(prefix): value for key, value in average.items() if prefix in key})
    # Not from_pretrained: it would leave this machine's folder in the saved configuration.
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(load_file(vae / "diffusion_pytorch_model.safetensors"))
    pipeline = diffusers().StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=model["text_encoder"].half(),
        tokenizer=tokenizer,
        unet=model["unet"].half(),
        scheduler=sampling_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def sampling_scheduler() -> Any:
    """Return the scheduler that the pipeline ships: 12 to 20 steps are enough.

    The stochastic solver: with as many steps as the deterministic one it renders the class and the style that are
    asked for clearly more often, since the noise it adds lets later steps correct the first ones.
    """
    return diffusers().DPMSolverMultistepScheduler(**NOISE, algorithm_type="sde-dpmsolver++", steps_offset=1)


def load_pipeline(folder: Path) -> Any:
    """Load a saved pipeline in float32, without progress bars."""
    pipeline = diffusers().StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(
    pipeline: Any,
    prompts: Sequence[str],
    seed: int,
    steps: int = 15,
    guidance: float = 3.5,
    batch: int = 64,
) -> Images:
    """Return one image a prompt, uint8 [N, 32, 32, 3]; image i is drawn from its own seed, `seed + i`."""
    images = []
    for start in range(0, len(prompts), batch):
        chunk = list(prompts[start : start + batch])
        generators = [torch.Generator().manual_seed(seed + start + number) for number in range(len(chunk))]
        output = pipeline(
            chunk, generator=generators, num_inference_steps=steps, guidance_scale=guidance, output_type="np"
        )
        images.append((output.images * 255).round().astype(np.uint8))
    return np.concatenate(images)
