"""Images that a Python program hands over, as pictures: arrays, tensors, Pillow images, files, and batches of these."""

import itertools
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.decode import as_rgb, read_image

_CHANNELS = (1, 3)
_FORMS = (
    "images are a folder, an array or tensor [N, C, H, W] or [N, H, W, C], or an iterable of images, of batches, or of"
    " pairs with a label behind"
)


def pictures(images: Iterable[Any]) -> Iterator[Image.Image]:
    """Give one picture after the other; nothing is read before it is asked for.

    Args:
        images: uint8, or floats in [0, 1], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels; or an iterable of such
            batches, of single images [C, H, W], [H, W, C] or [H, W], of Pillow's images, of paths, or of pairs of one
            of these with a label, as torch's DataLoader gives them.

    Yields:
        RGB or grey pictures of 8 bits a channel.

    Raises:
        UserError: where something is none of these: its number, what it is, and what is taken.
    """
    if _dimensions(images) not in (None, 4):
        raise UserError(f"images of shape {tuple(images.shape)}: {_FORMS}")  # type: ignore[attr-defined]
    if isinstance(images, str | bytes | dict) or not isinstance(images, Iterable):
        raise UserError(f"images are {type(images).__name__}: {_FORMS}")
    for number, item in enumerate(images):
        yield from _pictures(item[0] if isinstance(item, list | tuple) and item else item, f"image {number}")


def write_pictures(images: Iterable[Any], folder: Path, most: int) -> int:
    """Write at most so many pictures into a new folder, without loss; return how many there were.

    Raises:
        UserError: as `pictures`, and where there is none.
    """
    folder.mkdir(parents=True)
    written = 0
    for written, picture in enumerate(itertools.islice(pictures(images), most), start=1):
        picture.save(folder / f"{written - 1:06d}.png", compress_level=1)
    if not written:
        raise UserError(f"images hold none: {_FORMS}")
    return written


def _dimensions(value: Any) -> int | None:
    """Of an array or a tensor; None for anything else."""
    found = getattr(value, "ndim", None)
    return found if isinstance(found, int) and hasattr(value, "shape") else None


def _pictures(item: Any, name: str) -> Iterator[Image.Image]:
    if isinstance(item, Image.Image):
        try:
            yield as_rgb(item)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
    elif isinstance(item, str | PathLike):
        yield read_image(Path(item), upright=True)
    elif _dimensions(item) == 4:
        for number, part in enumerate(_array(item)):
            yield _picture(part, f"{name}, {number} of the batch")
    elif _dimensions(item) in (2, 3):
        yield _picture(_array(item), name)
    else:
        what = type(item).__name__ if _dimensions(item) is None else f"of shape {tuple(item.shape)}"
        raise UserError(f"{name} is {what}: {_FORMS}")


def _array(value: Any) -> NDArray[Any]:
    """A tensor may be on another device and ask for gradients."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _picture(array: NDArray[Any], name: str) -> Image.Image:
    pixels = _eight_bits(array, name)
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in _CHANNELS, pixels.shape[2] in _CHANNELS
        if first == last:
            which = "may have its channels first or last" if first else "has neither 1 nor 3 channels"
            raise UserError(f"{name} of shape {pixels.shape} {which}: {_FORMS}")
        pixels = pixels.transpose(1, 2, 0) if first else pixels
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels))


def _eight_bits(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and array.size:
        return array
    if not np.issubdtype(array.dtype, np.floating) or not array.size:
        raise UserError(f"{name} is {array.dtype} of shape {array.shape}: uint8 and floats in [0, 1] are taken")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise UserError(
            f"{name} goes from {low:.4g} to {high:.4g}: uint8 and floats in [0, 1] are taken; undo a normalization"
            " (images * std + mean), divide figures for 0 to 255 by 255"
        )
    return np.round(array * 255).astype(np.uint8)
