"""From a file to RGB: what it says of its pixels is followed, and what it does not say is refused."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from genq_export.core.errors import UserError
from genq_export.data.decode import decode_bytes, read_image, stands_as_it_is

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def stored(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def grey(values: np.ndarray, kind: str = "tiff") -> bytes:
    return stored(Image.fromarray(values), kind)


PLAIN: dict[str, bytes] = {
    "png": stored(Image.fromarray(RAMP).convert("RGB"), "png"),
    "grey png": grey(RAMP, "png"),
    "jpeg": stored(Image.fromarray(np.stack([RAMP, RAMP.T, RAMP], 2)), "jpeg"),
    "palette": stored(Image.fromarray(RAMP).convert("P"), "png"),
    "cmyk": stored(Image.new("CMYK", (8, 8), (10, 200, 30, 0)), "jpeg"),
    "opaque": stored(Image.fromarray(np.stack([RAMP, RAMP.T, RAMP, RAMP * 0 + 255], 2)), "png"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_files_are_as_pillow_converts_them(kind: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(PLAIN[kind])).convert("RGB"))
    assert np.array_equal(np.asarray(decode_bytes(PLAIN[kind], "x")), expected)


DEEP = {
    "float in 0 to 1": (grey((RAMP / 255).astype(np.float32)), RAMP),
    "float in 0 to 255": (grey(RAMP.astype(np.float32)), RAMP),
    "16 bit": (grey(RAMP.astype(np.uint16) * 257), RAMP),
    "16 bit png": (grey(RAMP.astype(np.uint16) * 257, "png"), RAMP),
    "int32 of 16 bits": (grey(RAMP.astype(np.int32) * 257), RAMP),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_images_are_scaled_by_their_range(kind: str) -> None:
    content, expected = DEEP[kind]
    assert np.array_equal(np.asarray(decode_bytes(content, "x"))[:, :, 0], expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (grey(RAMP.astype(np.uint16) * 16), "from 0 to 4032 .* scale them"),
        (grey(RAMP.astype(np.uint16) * 16, "png"), "from 0 to 4032 .* scale them"),
        (grey(RAMP.astype(np.int32) * 100_000), "32-bit numbers go from 0 to 25200000"),
        (grey(RAMP.astype(np.float32) * 100), "from 0 to 25200: scale them"),
        (grey(RAMP.astype(np.float32) - 100), "from -100 to 152: scale them"),
        (grey(np.full((4, 4), np.nan, np.float32)), "from nan to nan"),
        (b"not an image", "cannot read image"),
        (stored(Image.fromarray(RAMP), "png")[:50], "cannot read image"),
        (b"", "cannot read image"),
    ],
)
def test_what_cannot_be_told_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        decode_bytes(content, "x")


def test_twelve_bits_that_a_file_states() -> None:
    """A TIFF with 12 bits a sample, two of them in three bytes."""
    values = RAMP.astype(np.int64).ravel() * 16
    packed = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in zip(values[::2], values[1::2], strict=True))
    tags = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8), (279, len(packed))]
    entries = b"".join(tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little")
                       + value.to_bytes(4, "little") for tag, value in tags)  # fmt: skip
    start = (8 + len(packed)).to_bytes(4, "little")
    content = b"II*\0" + start + packed + len(tags).to_bytes(2, "little") + entries + bytes(4)
    assert np.array_equal(np.asarray(decode_bytes(content, "x"))[:, :, 0], RAMP)


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    3: lambda pixels: np.rot90(pixels, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    8: lambda pixels: np.rot90(pixels),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    content = stored(Image.fromarray(RAMP[:6]), "png", exif=exif)
    assert np.array_equal(np.asarray(decode_bytes(content, "x"))[:, :, 0], RAMP[:6])
    upright = np.asarray(decode_bytes(content, "x", upright=True))[:, :, 0]
    assert np.array_equal(upright, TURNS[orientation](RAMP[:6]))
    assert stands_as_it_is(content) == (".png" if orientation == 1 else None)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparency_lies_over_white(mode: str) -> None:
    if mode == "RGBA":
        image, more = Image.new("RGBA", (4, 4), (200, 0, 0, 0)), {}
    elif mode == "LA":
        image, more = Image.new("LA", (4, 4), (7, 0)), {}
    else:
        image, more = Image.new(mode, (4, 4), 5), {"transparency": 5}
        if mode == "P":
            image.putpalette([9] * 768)
    assert decode_bytes(stored(image, "png", **more), "x").getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent() -> None:
    content = stored(Image.new("RGBA", (2, 2), (0, 0, 0, 127)), "png")
    assert decode_bytes(content, "x").getpixel((0, 0)) == (128, 128, 128)


def wide_profile() -> bytes:
    """Linear light in the primaries of sRGB: far from sRGB, and made without a file."""
    linear = ImageCms.createProfile("sRGB")
    profile = bytearray(ImageCms.ImageCmsProfile(linear).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    for place in range(count):
        entry = 132 + 12 * place
        if profile[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            at = int.from_bytes(profile[entry + 4 : entry + 8], "big")
            profile[at : at + 12] = b"curv" + bytes(4) + (0).to_bytes(4, "big")  # the identity
        if profile[entry : entry + 4] == b"desc":
            at = int.from_bytes(profile[entry + 4 : entry + 8], "big")
            length = int.from_bytes(profile[entry + 8 : entry + 12], "big")
            text = profile[at : at + length]
            profile[at : at + length] = text.replace("sRGB".encode("utf-16-be"), "LINE".encode("utf-16-be"))
    return bytes(profile)


def test_profiles_become_srgb() -> None:
    image = Image.new("RGB", (4, 4), (55, 55, 55))
    converted = decode_bytes(stored(image, "png", icc_profile=wide_profile()), "x").getpixel((0, 0))
    expected = round(255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055))
    assert all(abs(value - expected) <= 1 for value in converted)  # type: ignore[union-attr]
    alpha = Image.new("RGBA", (4, 4), (55, 55, 55, 255))
    assert decode_bytes(stored(alpha, "png", icc_profile=wide_profile()), "x").getpixel((0, 0)) == converted


@pytest.mark.parametrize("profile", ["sRGB", "of another kind", "damaged"])
def test_profiles_that_change_nothing(profile: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(RAMP) if profile == "of another kind" else Image.fromarray(RAMP).convert("RGB")
    content = stored(image, "png", icc_profile=srgb[:50] if profile == "damaged" else srgb)
    assert np.array_equal(np.asarray(decode_bytes(content, "x"))[:, :, 0], RAMP)


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    path = Path(str(tmp_path)) / b"\xff.png".decode("utf-8", "surrogateescape")
    path.write_bytes(PLAIN["png"])
    assert read_image(path).size == (8, 8)
    path.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"\\xff\.png") as error:
        read_image(path)
    str(error.value).encode()


def test_heic_where_its_reader_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 64), (200, 30, 40))).save(tmp_path / "a.heic")
    assert np.abs(np.asarray(read_image(tmp_path / "a.heic")).mean((0, 1)) - (200, 30, 40)).max() < 6
