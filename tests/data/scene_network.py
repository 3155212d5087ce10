"""What readers of boxes and masks need to know of a network, without one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torchvision import transforms


@dataclass(frozen=True)
class SceneNetwork:
    """Three classes, pictures of 32 pixels a side."""

    class_names: tuple[str, ...] | None = ("background", "cat", "dog")
    name: str = "net"
    classes: int = 3

    def transform(self) -> Callable[[Any], Any]:
        return transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).float() / 255
