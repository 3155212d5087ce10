"""A float network and what belongs to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A float network and what belongs to it.

    module: float32, eval mode; takes [B, *input_size] and gives logits [B, classes].
    input_size: (channels, height, width). mean, std: per channel, of pixels in [0, 1].
    """

    name: str
    module: "nn.Module"
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    class_names: tuple[str, ...] | None
    classes: int

    def transform(self) -> Any:
        """PIL image -> float32 tensor [C, H, W], the network's own evaluation preprocessing (timm)."""
        from timm.data.transforms_factory import create_transform

        return create_transform(
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            is_training=False,
        )

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [B, H, W, C] already at the input size -> float32 [B, C, H, W]."""
        import torch

        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
