"""Pictures to judge networks by that are no classifiers: photographs, and words in Debian's fonts on photographs.

Photographs are those of `peer_photographs`, fonts and words come out of Debian packages. Seeded: the same packages give
the same pictures. Nothing here takes part in calibrating.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from fetched_packages import Package, collect
from numpy.typing import NDArray
from peer_photographs import PACKAGES, split
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.float32]
Draw = Callable[[Image.Image, np.random.Generator, list[Path], list[str]], Image.Image]

FONTS = (
    Package(
        "fonts-dejavu-core",
        "Debian",
        "Bitstream Vera",
        "usr/share/fonts/truetype/dejavu",
        ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf"),
    ),
    Package(
        "fonts-liberation",
        "Debian",
        "OFL-1.1",
        "usr/share/fonts/truetype/liberation",
        (
            "LiberationMono-Regular.ttf", "LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf",
            "LiberationSans-Italic.ttf", "LiberationSansNarrow-Regular.ttf", "LiberationSerif-Regular.ttf",
            "LiberationSerif-Bold.ttf", "LiberationSerif-Italic.ttf",
        ),
    ),
)  # fmt: skip
WORDS = (Package("wamerican", "Debian", "public domain", "usr/share/dict", ("american-english",)),)
CALIBRATION, JUDGING = "calibration", "judging"
_MARGIN = 8  # pixels at the left and right of a line


def pictures(kind: str, folder: Path, part: str, size: tuple[int, int], count: int) -> list[Image.Image]:
    """`count` pictures of `kind`, RGB of `size` (height, width).

    Args:
        kind: A name of `KINDS`.
        folder: Where packages are fetched to.
        part: `CALIBRATION` or `JUDGING`; no photograph is in both.
        size: Height and width in pixels.
        count: How many; photographs repeat, with other cuts.
    """
    draw = KINDS[kind]
    photographs = dict(zip((CALIBRATION, JUDGING), split(collect(folder, PACKAGES)), strict=True))[part]
    fonts = collect(folder, FONTS)
    (dictionary,) = collect(folder, WORDS)
    words = [word for word in dictionary.read_text().split() if word.isascii() and word.isalpha() and len(word) > 2]
    found = []
    for number in range(count):
        rng = np.random.default_rng((part == JUDGING, number))
        found.append(draw(_cut(photographs[number % len(photographs)], size, rng), rng, fonts, words))
    return found


def noisy(images: Floats, decibels: float) -> Floats:
    """The images with white noise `decibels` below them. What answers lose to it is what they are worth."""
    power = float((images.astype(np.float64) ** 2).mean()) / 10 ** (decibels / 10)
    noise = power**0.5 * np.random.default_rng(0).standard_normal(images.shape)
    return images + noise.astype(np.float32)


def _cut(path: Path, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A piece of a photograph of the size's shape, 0.3 to 0.8 of what would fit."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    height, width = size
    largest = min(image.width / width, image.height / height)
    scale = rng.uniform(0.3, 0.8) * largest
    across, down = max(1, int(scale * width)), max(1, int(scale * height))
    left, top = rng.integers(0, image.width - across + 1), rng.integers(0, image.height - down + 1)
    piece = image.crop((left, top, left + across, top + down))
    return piece.resize((width, height), Image.Resampling.BICUBIC)


def _photograph(ground: Image.Image, rng: np.random.Generator, fonts: list[Path], words: list[str]) -> Image.Image:
    return ground


def _line(ground: Image.Image, rng: np.random.Generator, fonts: list[Path], words: list[str]) -> Image.Image:
    """One line of whole words that fits, as a text detector cuts it out."""
    font = _font(fonts, int(rng.uniform(0.5, 0.75) * ground.height), rng)
    text = _fitting(words, font, ground.width - 2 * _MARGIN, rng)
    _, top, _, bottom = font.getbbox(text)
    _write(ground, (_MARGIN, (ground.height - bottom + top) / 2 - top), text, font, rng)
    return ground


def _page(ground: Image.Image, rng: np.random.Generator, fonts: list[Path], words: list[str]) -> Image.Image:
    """Two to five lines of several sizes below each other."""
    edges = np.linspace(0.03, 0.97, int(rng.integers(3, 7))) * ground.height
    for upper, lower in pairwise(edges):
        font = _font(fonts, max(10, int(rng.uniform(0.25, 0.6) * (lower - upper))), rng)
        text = _fitting(words, font, int(rng.uniform(0.4, 0.9) * ground.width), rng)
        _write(ground, (rng.uniform(0, ground.width - font.getlength(text)), upper), text, font, rng)
    return ground


def _font(fonts: list[Path], size: int, rng: np.random.Generator) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(fonts[rng.integers(len(fonts))], size)


def _fitting(words: list[str], font: ImageFont.FreeTypeFont, width: int, rng: np.random.Generator) -> str:
    """As many words as fit, one at least: a first word that is too long is drawn again."""
    text = words[rng.integers(len(words))]
    while font.getlength(text) > width:
        text = words[rng.integers(len(words))]
    while True:
        longer = f"{text} {words[rng.integers(len(words))]}"
        if font.getlength(longer) > width:
            return text
        text = longer


def _write(
    ground: Image.Image, place: tuple[float, float], text: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator
) -> None:
    """Dark letters on a bright place, bright ones on a dark place."""
    box = font.getbbox(text)
    under = ground.crop((int(place[0]), int(place[1]), int(place[0] + box[2]) + 1, int(place[1] + box[3]) + 1))
    bright = np.asarray(under).mean() > 110
    colour = tuple(int(part) for part in (rng.integers(0, 60, 3) if bright else rng.integers(200, 256, 3)))
    ImageDraw.Draw(ground).text(place, text, fill=colour, font=font)


KINDS: dict[str, Draw] = {"photographs": _photograph, "lines of text": _line, "text on photographs": _page}
