"""Image processors of transformers: settings as data, the transform that they are, and what they do to colours."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from genq_export.core.errors import UserError, reason_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_KIND = "image_processor_type"
_NAME = re.compile(r"[A-Z]\w*ImageProcessor\w*")
_PICTURES = ((640, 480), (300, 500))  # of two shapes: what comes out the same for both has a size of its own


@dataclass(frozen=True)
class Colours:
    """What a processor does to an image: input size, and mean and std of pixels in [0, 1], in the network's order."""

    input_size: tuple[int, int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Literal["RGB", "BGR"]


def transform_of(settings: Mapping[str, Any]) -> "Callable[[Image.Image], Tensor]":
    """PIL image -> float32 [C, H, W] as the processor of these settings has it.

    Args:
        settings: of a processor of transformers' own, as its `to_dict` gives them.

    Raises:
        UserError: where transformers has no such processor.
    """
    import transformers
    from transformers.image_processing_utils import BaseImageProcessor

    name = str(settings.get(_KIND))
    kind = getattr(transformers, name, None) if _NAME.fullmatch(name) else None
    if not (isinstance(kind, type) and issubclass(kind, BaseImageProcessor)):
        raise UserError(f"transformers {transformers.__version__} has no image processor '{name[:100]}'")
    try:
        processor = kind.from_dict(dict(settings))
    except Exception as error:  # of settings out of a file
        raise UserError(f"the settings of {name} are not its own: {reason_of(error)}") from None

    def transform(picture: "Image.Image") -> "Tensor":
        pixels: Tensor = processor(picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        return pixels.float()

    return transform


def colours_of(transform: "Callable[[Image.Image], Tensor]") -> Colours:
    """Find out, by pictures of one colour, what a transform does: it is affine in each channel.

    input_size is None where it depends on the picture.

    Raises:
        UserError: where it is no transform of pictures.
    """
    from PIL import Image

    def centre(colour: tuple[int, int, int], size: tuple[int, int] = _PICTURES[0]) -> "Tensor":
        return transform(Image.new("RGB", size, colour))

    try:
        black, other = (centre((0, 0, 0), size) for size in _PICTURES)
        zero, one, red = (_middle(x) for x in (black, centre((255,) * 3), centre((255, 0, 0))))
    except Exception as error:  # somebody's settings
        raise UserError(f"the image processor does not take a picture: {reason_of(error)}") from None
    span = one - zero
    size = tuple(black.shape) if black.shape == other.shape else None
    return Colours(
        input_size=size if size is None else (size[0], size[1], size[2]),
        mean=tuple(round(value, 7) for value in (-zero / span).tolist()),
        std=tuple(round(value, 7) for value in (1 / span).tolist()),
        layout="BGR" if len(red) == 3 and abs(red[2] - one[2]) < abs(red[0] - one[0]) else "RGB",
    )


def _middle(pixels: "Tensor") -> "Tensor":
    """[C, H, W] -> [C]: the borders may be padding."""
    return pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].double()
