"""Train the classifiers of the zoo on Fashion-MNIST in its original style."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from genq_export.zoo import to_rgb32
from genq_export.zoo.architectures import build_classifier
from tools.train_zoo.idx import load_split
from tools.train_zoo.training import normalise, one_cycle, save_checkpoint, save_half


@dataclass(frozen=True)
class Recipe:
    """How one network is trained: one-cycle learning rate, cross-entropy, random shifts and mirroring.

    The transformer is not shown shifted images: its positions are absolute, and learning each of 25 offsets anew cost
    it five points in as many epochs (85.5 % after eight with shifts).
    """

    epochs: int
    optimizer: str  # "sgd" (Nesterov 0.9) or "adamw"
    peak_lr: float
    weight_decay: float
    batch: int = 128
    warmup: float = 0.2  # share of the steps over which the rate rises
    shift: int = 2  # pixels an image is moved at most, each way


RECIPES = {
    "fashion_resnet": Recipe(epochs=9, optimizer="sgd", peak_lr=0.15, weight_decay=5e-4),
    "fashion_mobilenet": Recipe(epochs=10, optimizer="sgd", peak_lr=0.15, weight_decay=2e-4),
    "fashion_vit": Recipe(epochs=10, optimizer="adamw", peak_lr=2e-3, weight_decay=0.05, shift=0),
}


def train_classifier(name: str, data: Path, out: Path, seed: int, log: Callable[[str], None] = print) -> Path:
    """Train `name` and write `out/name.safetensors`; return that path.

    After every epoch `out/name.checkpoint.pt` is replaced, and a second call goes on from it. The test images are
    looked at once, after the last epoch, and choose nothing.
    """
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    model = build_classifier(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels, labels = load_split(data, "train")
    images, targets = torch.from_numpy(pixels.copy()), torch.from_numpy(labels)

    optimizer = _optimizer(model, recipe)
    steps = recipe.epochs * (len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / steps, recipe.warmup))
    generator = torch.Generator().manual_seed(seed)
    checkpoint, first = out / f"{name}.checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        first = state["epoch"]

    for epoch in range(first, recipe.epochs):
        started, total = time.monotonic(), 0.0
        model.train()
        order = torch.randperm(len(images), generator=generator)
        for index in torch.split(order[: len(order) // recipe.batch * recipe.batch], recipe.batch):
            batch = normalise(augment(images[index], recipe.shift, generator))
            loss = nn.functional.cross_entropy(model(batch), targets[index])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        save_checkpoint(
            checkpoint,
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "epoch": epoch + 1,
            },
        )
        mean = total / (len(images) // recipe.batch)
        log(f"{name}: epoch {epoch + 1}/{recipe.epochs}, loss {mean:.4f}, {time.monotonic() - started:.0f} s")

    path = out / f"{name}.safetensors"
    save_half(model, path)
    test_pixels, test_labels = load_split(data, "t10k")
    log(f"{name}: {accuracy(model, to_rgb32(test_pixels), test_labels):.2%} of {len(test_labels)} test images")
    return path


def augment(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Place each uint8 [N, 28, 28] image on a black 32x32 canvas, at most `shift` pixels off its middle, half mirrored.

    Returns uint8 [N, 32, 32]. That is the usual random crop of a padded image: the canvas is the padding.
    """
    count = len(images)
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None], images.flip(-1), images)
    offsets = torch.randint(2 - shift, 3 + shift, (2, count, 1), generator=generator)
    rows, columns = offsets[0] + torch.arange(28), offsets[1] + torch.arange(28)
    canvas = images.new_zeros(count, 32, 32)
    canvas[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]] = images
    return canvas


@torch.inference_mode()
def predict(model: nn.Module, images: npt.NDArray[np.uint8], batch: int = 500) -> Tensor:
    """Return the logits, float32 [N, classes], of uint8 images [N, 32, 32, 3], the model in eval mode."""
    model.eval()
    parts = torch.split(torch.from_numpy(images), batch)
    return torch.cat([model(normalise(part)) for part in parts])


def accuracy(model: nn.Module, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> float:
    """Return the share of uint8 images [N, 32, 32, 3] whose largest logit is at their label, int64 [N]."""
    return float((predict(model, images).argmax(1) == torch.from_numpy(labels)).float().mean())


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.peak_lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.peak_lr)
