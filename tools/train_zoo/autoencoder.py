"""The pipeline's AutoencoderKL: 32x32 RGB images to 8x8x8 latents and back; and the latents of the training set."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genq_export.zoo.names import STYLES
from tools.train_zoo.idx import load_split
from tools.train_zoo.libraries import diffusers
from tools.train_zoo.styles import Images, render_each
from tools.train_zoo.training import normalise, one_cycle, save_checkpoint

BATCH, PEAK_LR = 32, 2.5e-3
ENCODER_STEPS = 1000  # then the encoder stands still: latents can be made while the decoder learns on
STEPS = 3000
LATENT_CHANNELS = 8
KL_WEIGHT = 2e-4  # on means over latents and pixels; keeps the latents near a unit Gaussian, costs little sharpness
STYLE_SHARES = (0.35, 0.1, 0.25, 0.1, 0.1, 0.1)  # in the order of STYLES; colour takes the longest to learn
EXTRA_RENDERINGS = 2  # renderings of every training image in styles other than the original


def build_autoencoder() -> Any:
    """Return the untrained autoencoder: float32 [N, 3, 32, 32] in [-1, 1], latents [N, 8, 8, 8]."""
    return diffusers().AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=32,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def train_autoencoder(data: Path, out: Path, seed: int, log: Callable[[str], None] = print) -> Path:
    """Train on renderings in all styles, write `out/vae/` (`save_pretrained`, float32), and return that path.

    Every 100 steps `out/vae.checkpoint.pt` is replaced, and a second call goes on from it.
    """
    torch.manual_seed(seed)
    model = build_autoencoder()
    images, _ = load_split(data, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor)
    checkpoint, first = out / "vae.checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]

    started = time.monotonic()
    for step in range(first, STEPS):
        # Every step has its own generators, so that a resumed run draws what the uninterrupted one would have.
        batch = normalise(torch.from_numpy(mixed_batch(images, np.random.default_rng([seed, step]))))
        with torch.set_grad_enabled(step < ENCODER_STEPS):
            posterior = model.encode(batch.contiguous()).latent_dist
        restored = model.decode(posterior.sample(torch.Generator().manual_seed(seed + step))).sample
        loss = reconstruction_loss(restored, batch) + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            save_checkpoint(checkpoint, state)
            error = (restored - batch).abs().mean().item()
            log(f"vae: step {step + 1}/{STEPS}, error {error:.4f} of 2, {time.monotonic() - started:.0f} s")

    normalise_latents(model, mixed_batch(images, np.random.default_rng(seed), count=2048))
    model.save_pretrained(out / "vae")
    return out / "vae"


def learning_rate_factor(step: int) -> float:
    """Return the factor on the peak rate: one cycle, cut off when the encoder stops, then a half cosine down to 0."""
    joint = one_cycle(min(step, ENCODER_STEPS) / (1.7 * ENCODER_STEPS), warmup=0.05)
    return joint * one_cycle(max(step - ENCODER_STEPS, 0) / (STEPS - ENCODER_STEPS), warmup=0)


def mixed_batch(images: Images, rng: np.random.Generator, count: int = BATCH) -> Images:
    """Draw `count` images of uint8 [N, 28, 28] and render each in a random style: uint8 [count, 32, 32, 3]."""
    chosen = images[rng.integers(len(images), size=count)]
    return render_each(chosen, rng.choice(len(STYLES), size=count, p=STYLE_SHARES), rng)


def reconstruction_loss(restored: Tensor, target: Tensor) -> Tensor:
    """Return a pixel loss that is sharp at edges and does not give colour up.

    The absolute error alone settles on grey where hues vary; the squared one pulls the large errors in first. The
    error of the differences between neighbours keeps edges sharp.
    """
    error = restored - target
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * slopes


@torch.no_grad()
def normalise_latents(model: Any, images: Images) -> None:
    """Make every latent channel zero-mean with unit deviation over uint8 images [N, 32, 32, 3], in place.

    The change of scale goes into the two 1x1 convolutions around the latents, so the restored images stay what they
    were. `scaling_factor`, one number for all channels and no shift, could not do it.
    """
    latents = encode(model, images)
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quant, post = model.quant_conv, model.post_quant_conv
    scale = torch.cat([1 / deviation, torch.ones(LATENT_CHANNELS)])
    shift = torch.cat([-mean / deviation, -2 * deviation.log()])  # the second half of the channels are log-variances
    quant.weight.mul_(scale[:, None, None, None])
    quant.bias.mul_(scale).add_(shift)
    post.bias.add_(torch.einsum("oi,i->o", post.weight[:, :, 0, 0], mean))
    post.weight.mul_(deviation[None, :, None, None])


@torch.no_grad()
def encode(model: Any, images: Images, batch: int = 64) -> Tensor:
    """Return the latents' means, float32 [N, 8, 8, 8], of uint8 images [N, 32, 32, 3]."""
    model.eval()
    parts = torch.split(torch.from_numpy(images), batch)
    return torch.cat([model.encode(normalise(part).contiguous()).latent_dist.mode() for part in parts])


def precompute_latents(vae: Path, data: Path, out: Path, seed: int, log: Callable[[str], None] = print) -> Path:
    """Encode every training image in the original and in `EXTRA_RENDERINGS` other styles; write `out/latents.npz`.

    Arrays: latents float16 [1 + EXTRA_RENDERINGS, N, 8, 8, 8], styles int64 [1 + EXTRA_RENDERINGS, N], labels
    int64 [N].
    """
    path = out / "latents.npz"
    if path.exists():
        return path
    model = diffusers().AutoencoderKL.from_pretrained(vae)
    images, labels = load_split(data, "train")
    rng = np.random.default_rng(seed)
    styles = np.zeros((1 + EXTRA_RENDERINGS, len(images)), np.int64)
    styles[1:] = rng.integers(1, len(STYLES), size=styles[1:].shape)
    latents = np.empty((*styles.shape, LATENT_CHANNELS, 8, 8), np.float16)
    for rendering, numbers in enumerate(styles):
        rendered = render_each(images, numbers, rng)
        latents[rendering] = encode(model, rendered).numpy()
        log(f"latents: rendering {rendering + 1} of {len(styles)}")
    temporary = out / "latents.tmp.npz"
    np.savez(temporary, latents=latents, styles=styles, labels=labels)
    temporary.replace(path)
    return path
