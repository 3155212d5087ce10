"""One image file or its bytes become RGB pixels."""

from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from genq_export.core.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def read_image(path: Path) -> Image.Image:
    """Decode one file to RGB: the first frame of an animation, 16-bit scaled to 8. Raises UserError if it cannot."""
    return decode_image(path, str(path))


def decode_image(source: Path | IO[bytes], name: str) -> Image.Image:
    """As `read_image`, from a file or from bytes; `name` is what an error calls it."""
    try:
        with Image.open(source) as image:
            image.load()
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                return Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert(
                    "RGB"
                )
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read image {name}: {error}") from None


def list_images(folder: Path) -> list[Path]:
    """Image files below `folder`, sorted. Raises UserError for a folder that does not exist or holds none."""
    if not folder.is_dir():
        raise UserError(f"image folder {folder} does not exist")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"no images in {folder} (looked for {', '.join(IMAGE_SUFFIXES)} in it and below)")
    return files
