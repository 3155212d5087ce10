"""Train the detector and the segmenter of the zoo on scenes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from genq_export.data.scenes import MOST_OBJECTS, Scene
from genq_export.zoo.architectures import build_scene_network
from tools.train_zoo.box_losses import Truth, assign, detection_loss
from tools.train_zoo.scenes import scene_source
from tools.train_zoo.training import normalise, one_cycle, save_checkpoint, save_half

Loss = Callable[[Any, Tensor, Sequence[Scene]], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one network is trained: AdamW, one-cycle rate, average of the weights, multiplications in bfloat16."""

    loss: Loss
    steps: int
    batch: int = 32
    peak_lr: float = 2.5e-3
    weight_decay: float = 0.03
    warmup: float = 0.1
    average_decay: float = 0.998


def detector_loss(model: Any, images: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Of `zoo.detector.Detector`."""
    sides, logits = (part.float() for part in model.raw(images))
    boxes = model.placed(sides)
    cells = torch.cat((model.centres * model.strides, model.strides), 1)
    with torch.no_grad():
        found = assign(boxes, logits.sigmoid(), cells[:, :2], _truth(scenes))
    return detection_loss(sides, logits, boxes, found, cells)


def segmenter_loss(model: Any, images: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Cross-entropy of every pixel's class."""
    masks = torch.from_numpy(np.stack([scene.mask for scene in scenes])).long()
    return F.cross_entropy(model(images)["masks"].float(), masks)


RECIPES = {
    "fashion_detector": Recipe(detector_loss, steps=8_000),
    "fashion_segmenter": Recipe(segmenter_loss, steps=4_000),
}
_EVERY = 250  # steps between checkpoints


def train_scene_network(name: str, data: Path, out: Path, seed: int, log: Callable[[str], None] = print) -> Path:
    """Train `name` and write `out/name.safetensors`; return that path.

    Scene i is the same in every run, and no scene is seen twice. A second call goes on from the last checkpoint.
    """
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    model = build_scene_network(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True)
    optimizer = _optimizer(model, recipe)
    checkpoint, first = out / f"{name}.checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for part, key in ((model, "model"), (average, "average"), (optimizer, "optimizer")):
            part.load_state_dict(state[key])
        first = state["step"]

    draw, started, total = scene_source(data, "train", seed), time.monotonic(), 0.0
    for step in range(first, recipe.steps):
        scenes = [draw(number) for number in range(step * recipe.batch, (step + 1) * recipe.batch)]
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak_lr * one_cycle((step + 1) / recipe.steps, recipe.warmup)
        total += _learn(model, optimizer, recipe.loss, scenes)
        average.update_parameters(model)
        if (step + 1) % _EVERY == 0:
            parts = {"model": model, "average": average, "optimizer": optimizer}
            state = {key: part.state_dict() for key, part in parts.items()}
            save_checkpoint(checkpoint, state | {"step": step + 1})
            log(
                f"{name}: step {step + 1}/{recipe.steps}, loss {total / _EVERY:.4f}, {time.monotonic() - started:.0f} s"
            )
            total = 0.0

    path = out / f"{name}.safetensors"
    save_half(average.module, path)
    return path


def _learn(model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Loss, scenes: Sequence[Scene]) -> float:
    """One step; returns the loss."""
    model.train()
    images = normalise(torch.from_numpy(np.stack([scene.picture for scene in scenes])))
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, images, scenes)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return loss.item()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_lr)


def _truth(scenes: Sequence[Scene]) -> Truth:
    boxes = torch.zeros(len(scenes), MOST_OBJECTS, 4)
    labels = torch.zeros(len(scenes), MOST_OBJECTS, dtype=torch.int64)
    for number, scene in enumerate(scenes):
        boxes[number, : len(scene.labels)] = torch.from_numpy(scene.boxes)
        labels[number, : len(scene.labels)] = torch.from_numpy(scene.labels)
    return Truth(boxes, labels, boxes.any(-1))
