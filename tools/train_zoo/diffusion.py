"""Train the pipeline's UNet and text encoder together on the latents of the training set."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genq_export.zoo.names import STYLES
from tools.train_zoo.autoencoder import LATENT_CHANNELS
from tools.train_zoo.captions import NAMED_STYLE_SHARE, caption, vocabulary
from tools.train_zoo.libraries import diffusers
from tools.train_zoo.text import WIDTH, build_text_encoder, build_tokenizer
from tools.train_zoo.training import save_checkpoint

STEPS, BATCH, PEAK_LR, WARMUP = 3600, 96, 1.2e-3, 200
ORIGINAL_SHARE = 0.5
SNR_LIMIT = 5.0
EMA_DECAY = 0.999

# The last quarter works on what the network learns last, to render the style that is asked for: the style is decided
# in the noisy half of the timesteps, where an error in the noise weighs least, and few captions name it.
FINISH_FROM, FINISH_NAMED_SHARE = 2750, 0.35

# Stable Diffusion's schedule with a larger end: its own leaves 0.5 % of the signal's power at the last step, which on
# 8x8 latents tells the network the image's mean brightness, and sampling from pure noise then greys every style.
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.02,
}


def build_unet() -> Any:
    """Return the untrained UNet: latents [N, 8, 8, 8], timesteps [N] and text states [N, L, 64] to noise."""
    return diffusers().UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def train_diffusion(latents: Path, out: Path, seed: int, log: Callable[[str], None] = print) -> Path:
    """Train UNet and text encoder together on `latents` (see `precompute_latents`); return the last checkpoint.

    Noise prediction, min-SNR weights, an exponential moving average of the weights. `out/unet.checkpoint.pt` is
    replaced every 250 steps, and a second call goes on from it.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(vocabulary())
    model = nn.ModuleDict({"unet": build_unet(), "text_encoder": build_text_encoder(tokenizer)})
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=_ema)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor)
    noise_schedule = _training_scheduler()
    weights = min_snr_weights(noise_schedule.alphas_cumprod)

    checkpoint, first = out / "unet.checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        schedule.last_epoch = first

    started, losses = time.monotonic(), []
    for step, (clean, captions) in enumerate(_batches(latents, seed, first), first):
        unique = sorted(set(captions))
        tokens = tokenizer(unique, padding="max_length", truncation=True, return_tensors="pt").input_ids
        states = model["text_encoder"](tokens).last_hidden_state
        states = states[torch.tensor([unique.index(text) for text in captions])]

        generator = torch.Generator().manual_seed(seed + step)
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(0, len(weights), (len(clean),), generator=generator)
        if step >= FINISH_FROM:
            times[::2] = len(weights) // 2 + times[::2] // 2
        noisy = noise_schedule.add_noise(clean, noise, times)
        predicted = model["unet"](noisy, times, states).sample
        loss = (weights[times] * (predicted - noise).square().mean((1, 2, 3))).mean()

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        losses.append(loss.item())
        if (step + 1) % 250 == 0 or step + 1 == STEPS:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            save_checkpoint(checkpoint, state)
            log(f"unet: step {step + 1}/{STEPS}, loss {np.mean(losses):.4f}, {time.monotonic() - started:.0f} s")
            losses = []
    return checkpoint


def min_snr_weights(alphas_cumprod: Tensor) -> Tensor:
    """Return the loss weight of every timestep, min(SNR, 5) / SNR, from the cumulative alphas, both [T]."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=SNR_LIMIT) / snr


def learning_rate_factor(step: int) -> float:
    """Return the factor on the peak rate: a linear rise, then a half cosine down to a twentieth."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    progress = min((step - WARMUP) / (STEPS - WARMUP), 1.0)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


def _batches(latents: Path, seed: int, first: int) -> Iterator[tuple[Tensor, list[str]]]:
    """Yield (latents float32 [BATCH, 8, 8, 8], captions) of the steps from `first` on; each step has its own seed."""
    with np.load(latents) as arrays:
        bank, styles, labels = arrays["latents"], arrays["styles"], arrays["labels"]
    for step in range(first, STEPS):
        rng = np.random.default_rng([seed, step])
        images = rng.integers(len(labels), size=BATCH)
        renderings = np.where(rng.random(BATCH) < ORIGINAL_SHARE, 0, rng.integers(1, len(bank), size=BATCH))
        names = [STYLES[number] for number in styles[renderings, images]]
        named = NAMED_STYLE_SHARE if step < FINISH_FROM else FINISH_NAMED_SHARE
        captions = [caption(int(label), style, rng, named) for label, style in zip(labels[images], names, strict=True)]
        yield torch.from_numpy(bank[renderings, images].astype(np.float32)), captions


def _training_scheduler() -> Any:
    return diffusers().DDPMScheduler(**NOISE)


def _ema(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    # The average of the first steps would remember the random initial weights: let it follow faster there.
    decay = min(EMA_DECAY, (1 + int(count)) / (10 + int(count)))
    return average.lerp(current.to(average.dtype), 1 - decay)
