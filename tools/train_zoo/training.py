"""What every training of the zoo shares: the course of the learning rate, the input's scale, whole files."""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def one_cycle(progress: float, warmup: float) -> float:
    """Return the learning rate's factor in [0, 1]: a linear rise over `warmup`, then a half cosine down to 0."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 [N, 32, 32] or [N, 32, 32, 3] into the networks' input, float32 [N, 3, 32, 32] in [-1, 1]."""
    if images.ndim == 3:
        images = images[..., None].expand(-1, -1, -1, 3)
    # A permuted NHWC tensor is already channels-last in memory, the faster layout for these convolutions.
    return (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def save_half(model: nn.Module, path: Path) -> None:
    """Write parameters as float16 and everything else (BatchNorm statistics) as it is, in safetensors."""
    parameters = {name for name, _ in model.named_parameters()}
    tensors = {
        name: (value.half() if name in parameters else value).contiguous() for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def save_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Write `state` in such a way that `path` always holds a whole checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
