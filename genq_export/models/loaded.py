"""A float network and what belongs to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from genq_export.models.processor import transform_of

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A float network and what belongs to it.

        module: float32, eval mode; takes [B, *input_size] and gives logits [B, classes], or tensors by name.
        input_size: (channels, height, width). mean, std: per channel in the network's order, of pixels in [0, 1].
        crop_pct: the centre crop's share of the resized image. layout: order of the colours that the network takes.
        resize: pixels that the shorter side is resized to, where `crop_pct` does not say it exactly.
        processor: settings of the image processor of transformers that is the whole preprocessing; mean, std and layout
    then say what it does to colours. model_type: its type in transformers, where it is one of that library.
        outputs: shapes for one image, without the batch, by name. task: what the network is for, of
    `config.registry.TASKS`. classes: 0 where it tells none apart.
        notes: what was decided or done on its way in, a sentence each. hides_logits: what it gives for classes are
    probabilities, and their logits cannot be seen.
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
    layout: Literal["RGB", "BGR"] = "RGB"
    resize: int | None = None
    processor: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    outputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    task: str = "classification"
    hides_logits: bool = False
    model_type: str | None = None

    def transform(self) -> Any:
        """PIL image -> float32 tensor [C, H, W], the network's own evaluation preprocessing."""
        from torchvision import transforms

        if self.processor is not None:
            return transform_of(self.processor)
        swap = [_swapped] if self.layout == "BGR" else []
        grey = [transforms.Grayscale()] if self.input_size[0] == 1 else []
        return transforms.Compose([*swap, *grey, *self._geometry()])

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [B, H, W, C] already at the input size, RGB -> float32 [B, C, H, W]."""
        return self.normalize_colours(pixels.permute(0, 3, 1, 2).float() / 255)

    def normalize_colours(self, colours: "torch.Tensor") -> "torch.Tensor":
        """float32 [B, C, H, W] in [0, 1], RGB -> what the network takes, on the same device; differentiable."""
        import torch

        mean = torch.tensor(self.mean, device=colours.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=colours.device).view(1, -1, 1, 1)
        return ((colours.flip(1) if self.layout == "BGR" else colours) - mean) / std

    def _geometry(self) -> list[Any]:
        """Resize, centre crop, scale to [0, 1], normalise: timm's, or one whose resized side is known to the pixel."""
        from timm.data.transforms_factory import create_transform
        from torchvision import transforms

        if self.resize is None:
            whole = create_transform(
                input_size=self.input_size,
                mean=self.mean,
                std=self.std,
                crop_pct=self.crop_pct,
                interpolation=self.interpolation,
                is_training=False,
            )
            return [whole]
        return [
            transforms.Resize(self.resize, transforms.InterpolationMode(self.interpolation)),
            transforms.CenterCrop(self.input_size[1:]),
            transforms.ToTensor(),
            transforms.Normalize(self.mean, self.std),
        ]


def _swapped(picture: Any) -> Any:
    """An RGB picture with red and blue in each other's place: what follows then reads BGR."""
    from PIL import Image

    return Image.merge("RGB", picture.convert("RGB").split()[::-1])
