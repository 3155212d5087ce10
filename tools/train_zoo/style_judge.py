"""Train the judge of rendering styles, with which the pipeline's share of each style is measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genq_export.zoo.architectures import build_style_classifier
from genq_export.zoo.names import STYLES
from tools.train_zoo.classifiers import accuracy
from tools.train_zoo.idx import load_split
from tools.train_zoo.styles import Images, Labels, render_each
from tools.train_zoo.training import normalise, one_cycle, save_half

STEPS, BATCH, PEAK_LR = 600, 96, 4e-3


def train_style_judge(data: Path, out: Path, seed: int, log: Callable[[str], None] = print) -> Path:
    """Train on renderings of the training images, write `out/fashion_style.safetensors` and return that path."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build_style_classifier(len(STYLES)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, _ = load_split(data, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / STEPS, warmup=0.1))
    for _ in range(STEPS):
        rendered, styles = _evenly_rendered(images, BATCH, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch = _roughened(normalise(torch.from_numpy(rendered)), generator)
        loss = nn.functional.cross_entropy(model(batch), torch.from_numpy(styles))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    path = out / "fashion_style.safetensors"
    save_half(model, path)
    test_images, _ = load_split(data, "t10k")
    rendered, styles = _evenly_rendered(test_images, len(test_images), rng)
    log(f"fashion_style: {accuracy(model, rendered, styles):.2%} of {len(styles)} renderings of test images")
    return path


def _evenly_rendered(images: Images, count: int, rng: np.random.Generator) -> tuple[Images, Labels]:
    styles = rng.integers(len(STYLES), size=count)
    return render_each(images[rng.integers(len(images), size=count)], styles, rng), styles


def _roughened(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Blur a random share of each image and add noise: generated images are softer than rendered ones."""
    share = torch.rand((len(batch), 1, 1, 1), generator=generator)
    blurred = nn.functional.avg_pool2d(batch, 3, stride=1, padding=1, count_include_pad=False)
    noise = torch.randn(batch.shape, generator=generator)
    return batch.lerp(blurred, share) + 0.05 * torch.rand((len(batch), 1, 1, 1), generator=generator) * noise
