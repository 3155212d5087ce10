"""Pictures of text, to calibrate networks on that find or read it: random words on dead leaves, sharp, soft or faint.

Letters are of the font that Pillow comes with, bold or slanted at times, so that the same seed gives the same picture
on every machine.
"""

import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from genq_export.data.dead_leaves import dead_leaves

_LINE = 3.0  # width over height, from which a picture shows one line
_LETTERS = string.ascii_lowercase * 3 + string.ascii_uppercase + string.digits * 2 + ".,-:/%&"
_PLAIN, _BLURRED = 0.25, 0.5  # shares of grounds of one colour, and of soft ones
_BRIGHT = 110  # mean of a ground, of 255, from which letters on it are dark
_MARGIN = 0.025  # of a line's width, left and right
_SLANTED, _SLANT = 0.4, (-0.05, 0.25)  # share of words, and pixels aside a pixel up
_BOLD = 30  # pixels of height, from which letters may be bold


def pictures(height: int, width: int, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """One picture a seed, uint8 [len(seeds), H, W, 3]."""
    return np.stack([text(height, width, np.random.default_rng(seed)) for seed in seeds])


def text(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture, uint8 [H, W, 3]: a line that fills it where it is wide, else words of all sizes."""
    picture = Image.fromarray(_ground(height, width, rng))
    if width >= _LINE * height:
        font = ImageFont.load_default(max(6.0, rng.uniform(0.5, 0.75) * height))
        margin = _MARGIN * width
        words = _fitting(font, width - 2 * margin, rng)
        _, top, _, bottom = font.getbbox(words)
        _write(picture, words, font, (margin, (height - bottom + top) / 2 - top), rng)
    else:
        for _ in range(rng.integers(2, 9)):
            place = (rng.uniform(0, 0.7) * width, rng.uniform(0, 0.9) * height)
            font = ImageFont.load_default(max(6.0, rng.uniform(0.05, 0.25) * height))
            _write(picture, _word(rng), font, place, rng)
    return np.asarray(picture)


def _ground(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One colour, or dead leaves of any contrast with it, soft ones among them."""
    colour, kind = rng.integers(0, 256, 3), rng.random()
    if kind < _PLAIN:
        return np.tile(colour.astype(np.uint8), (height, width, 1))
    leaves = Image.fromarray(dead_leaves(height, width, rng))
    if kind < _PLAIN + _BLURRED:
        leaves = leaves.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.05, 0.3)) * min(height, width)))
    share = rng.uniform(0.3, 1)
    return (share * np.asarray(leaves) + (1 - share) * colour).astype(np.uint8)


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(_LETTERS), rng.integers(2, 11)))


def _fitting(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float, rng: np.random.Generator) -> str:
    """As many words as fit, and what fits of the first."""
    words = _word(rng)
    while len(words) > 1 and font.getlength(words) > width:
        words = words[:-1]
    while font.getlength(longer := f"{words} {_word(rng)}") <= width:
        words = longer
    return words


def _write(
    picture: Image.Image,
    words: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    place: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Letters in a colour that stands out from the ground they stand on."""
    box = font.getbbox(words)
    under = picture.crop((int(place[0]), int(place[1]), int(place[0] + box[2]) + 1, int(place[1] + box[3]) + 1))
    bright = np.asarray(under).mean() > _BRIGHT
    colour = tuple(int(part) for part in (rng.integers(0, 80, 3) if bright else rng.integers(180, 256, 3)))
    letters = Image.new("L", picture.size, 0)
    bold = int(rng.integers(0, 2)) if box[3] > _BOLD else 0
    ImageDraw.Draw(letters).text(place, words, fill=255, font=font, stroke_width=bold)
    if rng.random() < _SLANTED:
        slant = float(rng.uniform(*_SLANT))
        middle = place[1] + (box[1] + box[3]) / 2
        letters = letters.transform(
            picture.size, Image.Transform.AFFINE, (1, slant, -slant * middle, 0, 1, 0), Image.Resampling.BICUBIC
        )
    picture.paste(Image.new("RGB", picture.size, colour), (0, 0), letters)
