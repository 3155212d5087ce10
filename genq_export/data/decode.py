"""One image file or its bytes become RGB pixels, 8 bits a channel, in sRGB.

What a file says of its pixels is followed: an ICC profile is converted to sRGB, transparency lies over white, deep
images are scaled by the range of their numbers. A file whose range cannot be told is refused. The orientation that a
camera notes (EXIF) is applied where `upright` asks for it.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from genq_export.core.errors import UserError, reason_of
from genq_export.data.account import shown
from genq_export.data.whole import ends_whole

_PLAIN = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm")
_HEIC = (".heic", ".heif")
BACKGROUND = (255, 255, 255)  # of transparent images
_SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif"}
_ORIENTATION = 274  # the EXIF tag
_BITS_PER_SAMPLE = 258  # the TIFF tag
_UNREADABLE = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@cache
def image_suffixes() -> tuple[str, ...]:
    """Suffixes of files that are read here, lower case; HEIC where `pillow-heif` is there, AVIF where Pillow can."""
    from PIL import features

    avif = (".avif",) if features.check("avif") else ()
    return (*_PLAIN, *avif, *(_HEIC if _register_heif() else ()))


def is_image_name(name: str) -> bool:
    """Has a file the suffix of an image that is read here?"""
    return name.lower().endswith(image_suffixes())


def read_image(path: Path, upright: bool = False) -> Image.Image:
    """Decode one file to RGB, the first frame of an animation.

    Args:
        path: the file.
        upright: turn it as its EXIF orientation says.

    Raises:
        UserError: where it cannot be decoded.
    """
    return decode_image(path, str(path), upright)


def decode_image(source: Path | IO[bytes], name: str, upright: bool = False) -> Image.Image:
    """As `read_image`, from a file or from bytes; `name` is what an error calls it."""
    with opened_image(source, name) as image:
        deep = _is_deep_colour(image)
        image.load()
        turned = ImageOps.exif_transpose(image) if upright else image
        pixels = as_rgb(turned)
        if deep and 0 < max(high for _, high in pixels.getextrema()) < 16:  # type: ignore[misc]
            raise ValueError("16-bit colours that fill 12 bits at most, whose range the file does not say")
        return pixels


@contextmanager
def opened_image(source: Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """Open an image, of which nothing but the header is read yet.

    Raises:
        UserError: where Pillow cannot read it, here or in the block below; `name` is what the error calls it.
    """
    image_suffixes()  # HEIC is known from here on
    try:
        with Image.open(source) as image:
            yield image
    except _UNREADABLE as error:
        raise UserError(f"cannot read image {shown(name)}: {_reason(error)}") from None


def decode_bytes(content: bytes, name: str, upright: bool = False) -> Image.Image:
    """As `read_image`, from the bytes of a file."""
    return decode_image(io.BytesIO(content), name, upright)


def as_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow's -> RGB; raises ValueError for deep pixels whose range cannot be told."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode == "P" or (image.mode in ("1", "L", "RGB") and "transparency" in image.info):
        profile = image.info.get("icc_profile")
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        image.info["icc_profile"] = profile
    image = _srgb(image)
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return image.convert("RGB")
    over = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")


def check_ends(file: IO[bytes], name: str) -> None:
    """Raise UserError where a file does not begin as an image does, or ends otherwise and cannot be decoded either."""
    with opened_image(file, name) as image:
        whole = ends_whole(file, image.format)
    if not whole:
        file.seek(0)
        decode_image(file, name)


def _reason(error: Exception) -> str:
    """Pillow names the object that it reads from."""
    return "it is no image that is read here" if isinstance(error, UnidentifiedImageError) else reason_of(error)


def stands_as_it_is(content: bytes) -> str | None:
    """The suffix of an image file whose pixels are upright and which Pillow reads without help; None for any other."""
    try:
        with opened_image(io.BytesIO(content), "") as image:
            upright = image.getexif().get(_ORIENTATION, 1) in (0, 1)
            return _SUFFIX_OF.get(image.format or "") if upright else None
    except UserError:
        return None


def png_bytes(image: Image.Image) -> bytes:
    """An RGB image as a lossless file."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, format="png")
    return out.getvalue()


def _register_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _srgb(image: Image.Image) -> Image.Image:
    """Colours of a profile other than sRGB, converted; a profile of another kind of image says nothing and is left."""
    stored = image.info.get("icc_profile")
    if not stored:
        return image
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    colours = image.convert(image.mode.removesuffix("A")) if alpha is not None else image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(stored))
        kind = profile.profile.xcolor_space.strip()
        if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(kind) != colours.mode:
            return image
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return image
        converted = ImageCms.profileToProfile(colours, profile, _srgb_profile(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Grey values of more than 8 bits, uint8 [H, W].

    Raises ValueError where their range cannot be told.
    """
    values = np.asarray(image)
    if image.mode == "F":
        return _from_float(values)
    numbers = values.astype(np.int64)
    low, high = int(numbers.min()), int(numbers.max())
    bits = _stated_bits(image)
    if bits is None:
        bits = _bits_of(image, low, high)
    if low < 0 or high >= 1 << bits:
        raise ValueError(f"its numbers go from {low} to {high}, beyond {bits} bits: store them in 8 or 16 bits")
    return (numbers >> max(0, bits - 8)).astype(np.uint8)


def _from_float(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return np.round(values * 255).astype(np.uint8)
    if low >= 0 and high <= 255:
        return np.round(values).astype(np.uint8)
    raise ValueError(f"its numbers go from {low:g} to {high:g}: scale them to 0 … 1 or 0 … 255")


def _stated_bits(image: Image.Image) -> int | None:
    """Bits of a sample where the file says that they are neither 8, 16 nor 32."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE) if tags else None
    return int(bits[0]) if bits and int(bits[0]) in (10, 12, 14) else None


def _bits_of(image: Image.Image, low: int, high: int) -> int:
    """By the container and by the largest number in it."""
    if image.mode == "I" and high > 0xFFFF:
        raise ValueError(f"its 32-bit numbers go from {low} to {high}: store them in 8 or 16 bits")
    if 0 < high < 1 << 12:
        raise ValueError(
            f"its numbers go from {low} to {high} in more than 12 bits of room: as 16 bits it would be black; scale"
            " them to 8 or 16 bits"
        )
    return 16


def _is_deep_colour(image: Image.Image) -> bool:
    """Colours of 16 bits, of which Pillow keeps the upper 8."""
    raw = [str(part) for tile in getattr(image, "tile", ()) for part in np.ravel(np.array(tile[3], dtype=object))]
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in part for part in raw)
