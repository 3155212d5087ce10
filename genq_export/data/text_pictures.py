"""Pictures of text, to calibrate networks on that find or read it: random words on dead leaves or plain colour.

Letters are of the font that Pillow comes with, so that the same seed gives the same picture on every machine.
"""

import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from genq_export.data.dead_leaves import dead_leaves

_LINE = 3.0  # width over height, from which a picture shows one line
_LETTERS = string.ascii_lowercase * 3 + string.ascii_uppercase + string.digits * 2 + ".,-:/%&"
_PLAIN = 0.5  # share of pictures on one colour
_CONTRAST = 90  # least difference of brightness between letters and ground, of 255


def pictures(height: int, width: int, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """One picture a seed, uint8 [len(seeds), H, W, 3]."""
    return np.stack([text(height, width, np.random.default_rng(seed)) for seed in seeds])


def text(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture, uint8 [H, W, 3]: a line that fills it where it is wide, else words of all sizes."""
    picture = Image.fromarray(_ground(height, width, rng))
    draw = ImageDraw.Draw(picture)
    if width >= _LINE * height:
        _write(
            draw,
            " ".join(_word(rng) for _ in range(rng.integers(1, 5))),
            (0.02 * width, 0.1 * height),
            0.75 * height,
            rng,
        )
    else:
        for _ in range(rng.integers(2, 9)):
            place = (rng.uniform(0, 0.7) * width, rng.uniform(0, 0.9) * height)
            _write(draw, _word(rng), place, rng.uniform(0.05, 0.25) * height, rng)
    return np.asarray(picture)


def _ground(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() < _PLAIN:
        return np.tile(rng.integers(0, 256, 3, np.uint8), (height, width, 1))
    return dead_leaves(height, width, rng)


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(_LETTERS), rng.integers(2, 11)))


def _write(
    draw: ImageDraw.ImageDraw, words: str, place: tuple[float, float], size: float, rng: np.random.Generator
) -> None:
    """Letters in a colour that stands out from where they begin."""
    ground = draw.im.getpixel((int(place[0]), int(place[1])))
    brightness = sum(ground) / 3
    colour = tuple(int(part) for part in rng.integers(0, 256, 3))
    while abs(sum(colour) / 3 - brightness) < _CONTRAST:
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
    draw.text(place, words, fill=colour, font=ImageFont.load_default(max(6.0, size)))
