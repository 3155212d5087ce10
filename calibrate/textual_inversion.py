"""Learn one style token from a few real images (GenQ's token inversion for the data-scarce regime).

The prompt of a real image of class C is "a photo of a {C} in the style of {S}"; S is one token shared by all classes.
Only its text-encoder embedding is optimised, with the loss the pipeline was trained with,
`E || eps - eps_theta(z_t, t, tau(prompt)) ||^2`; everything else is frozen. GenQ reports about 50,000 iterations and no
learning rate; the defaults here are ours, from diffusers' textual-inversion recipe.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from calibrate.prompts import stable_integer
from calibrate.style import add_token, base_identity
from genq_export.core.workspace import fingerprint, write_atomic
from genq_export.data.pictures import StoredPicture, upright_image

CHECKPOINT_EVERY = 100
# Textual inversion steps 5e-4 on CLIP's embeddings, whose entries are 0.0146 on average: the same step relative to the
# size of the embeddings suits any text encoder.
_RELATIVE_LR = 5e-4 / 0.0146
_START_WORDS = ("style", "photo", "picture")


@dataclass(frozen=True)
class Inversion:
    """Settings that, with the images, decide the token."""

    steps: int
    batch_size: int
    size: int
    seed: int


def default_steps(size: int) -> int:
    """Optimiser steps: fewer where images are tiny and the space of styles is small."""
    return 3000 if size >= 128 else 600


def default_batch(size: int) -> int:
    """Images a step; many small ones cost no more than a few large ones."""
    return 4 if size >= 128 else 32


def learn_style(
    pipeline: Any,
    paths: Sequence[Path | StoredPicture],
    prompts: Sequence[str],
    settings: Inversion,
    state: Path,
    track: Callable[[Iterator[int], int], Iterator[int]] = lambda steps, _: steps,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> torch.Tensor:
    """Optimise the token's embedding, float32 [width], on images and their prompts (which contain the token).

    The pipeline gets the token; its weights do not change. An interrupted run ends with the same embedding.

    Args:
        pipeline: of one text encoder and a UNet.
        paths: images to learn from.
        prompts: of each of them.
        settings: what else decides the token.
        state: file to go on from, if it belongs to the same images, prompts, settings and pipeline.
        track: wraps the steps to show progress.
        checkpoint_every: steps after which `state` is written.
    """
    number = add_token(pipeline)
    device = pipeline.unet.device
    dtype = pipeline.unet.dtype
    pipeline.to(dtype=torch.float32)  # gradients of half-precision activations underflow
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    try:
        mean, std = encode(pipeline, paths, settings.size)
        run = _run_identity(pipeline, mean, prompts, settings)
        vector = nn.Parameter(starting_point(pipeline).to(device))
        scale = pipeline.text_encoder.get_input_embeddings().weight[:number].square().mean().sqrt()
        optimizer = torch.optim.Adam([vector], lr=_RELATIVE_LR * float(scale))
        first = _resume(state, run, vector, optimizer)
        schedule = training_schedule(pipeline)
        with replaced_embedding(pipeline, number, vector):
            for step in track(iter(range(first, settings.steps)), settings.steps - first):
                loss = denoising_loss(pipeline, schedule, mean, std, prompts, settings, step)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if (step + 1) % checkpoint_every == 0 or step + 1 == settings.steps:
                    _checkpoint(state, run, step + 1, vector, optimizer)
        return vector.detach().cpu()
    finally:
        pipeline.to(dtype=dtype)


@torch.inference_mode()
def encode(pipeline: Any, paths: Sequence[Path | StoredPicture], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and deviations of the images' latents, float32 [n, C, h, w] each, scaled as the UNet takes them."""
    means, deviations = [], []
    for path in paths:
        image = ImageOps.fit(upright_image(path), (size, size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        posterior = pipeline.vae.encode(pixels.to(pipeline.vae.device)).latent_dist
        means.append(posterior.mean.cpu())
        deviations.append(posterior.std.cpu())
    factor = pipeline.vae.config.scaling_factor
    return torch.cat(means).clone() * factor, torch.cat(deviations).clone() * factor


def starting_point(pipeline: Any) -> torch.Tensor:
    """The embedding of "style", or of another word that is one token, else the mean of all."""
    weight: torch.Tensor = pipeline.text_encoder.get_input_embeddings().weight.detach()
    for word in _START_WORDS:
        ids = pipeline.tokenizer(word, add_special_tokens=False).input_ids
        if len(ids) == 1:
            return weight[ids[0]].clone()
    return weight[: pipeline.tokenizer.vocab_size].mean(0)


@contextmanager
def replaced_embedding(pipeline: Any, number: int, vector: torch.Tensor) -> Iterator[None]:
    """While active, the token `number` is embedded as `vector`, through which gradients flow."""

    def replace(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return torch.where((inputs[0] == number)[..., None], vector, output)

    handle = pipeline.text_encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def denoising_loss(
    pipeline: Any,
    schedule: Any,
    mean: torch.Tensor,
    std: torch.Tensor,
    prompts: Sequence[str],
    settings: Inversion,
    step: int,
) -> torch.Tensor:
    """How far the pipeline is from the noise in a batch of latents, a scalar; images and noise are those of `step`."""
    # A generator a step: a resumed run draws what the uninterrupted one would have.
    random = torch.Generator().manual_seed(stable_integer(settings.seed, "inversion", step))
    chosen = torch.randint(len(mean), (settings.batch_size,), generator=random)
    noise = torch.randn((2, settings.batch_size, *mean.shape[1:]), generator=random)
    times = torch.randint(schedule.config.num_train_timesteps, (settings.batch_size,), generator=random)
    latents = mean[chosen] + std[chosen] * noise[0]
    target = noise[1] if _predicts_noise(schedule) else schedule.get_velocity(latents, noise[1], times)
    noisy = schedule.add_noise(latents, noise[1], times)

    device = pipeline.unet.device
    texts = [prompts[index] for index in chosen.tolist()]
    tokens = pipeline.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    states = pipeline.text_encoder(tokens.to(device))[0]
    predicted = pipeline.unet(noisy.to(device), times.to(device), states).sample
    return F.mse_loss(predicted, target.to(device))


def training_schedule(pipeline: Any) -> Any:
    """The noise the pipeline was trained with, whatever sampler it was saved with."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler.from_config(pipeline.scheduler.config)


def _predicts_noise(schedule: Any) -> bool:
    return bool(schedule.config.prediction_type == "epsilon")


def _run_identity(pipeline: Any, latents: torch.Tensor, prompts: Sequence[str], settings: Inversion) -> str:
    images = latents.half().numpy().tobytes().hex()
    return fingerprint(base_identity(pipeline), images, list(prompts), asdict(settings))


def _checkpoint(path: Path, run: str, step: int, vector: torch.Tensor, optimizer: torch.optim.Adam) -> None:
    moments = optimizer.state[vector]
    tensors = {"vector": vector.detach().cpu(), "mean": moments["exp_avg"].cpu(), "square": moments["exp_avg_sq"].cpu()}
    write_atomic(path, save(tensors, metadata={"run": run, "step": str(step)}))


def _resume(path: Path, run: str, vector: nn.Parameter, optimizer: torch.optim.Adam) -> int:
    """Load a checkpoint of this very run; returns the step to go on with, 0 without one."""
    try:
        with safe_open(path, framework="pt", device=str(vector.device)) as file:
            facts = file.metadata() or {}
            if facts.get("run") != run:
                return 0
            with torch.no_grad():
                vector.copy_(file.get_tensor("vector"))
            step = int(facts["step"])
            optimizer.state[vector] = {
                "step": torch.tensor(float(step)),
                "exp_avg": file.get_tensor("mean"),
                "exp_avg_sq": file.get_tensor("square"),
            }
            return step
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):  # RuntimeError: of another shape
        return 0
