"""Where a network's preprocessing puts the pixels of a picture, so that boxes and masks can be put there, too.

It is found out by pictures whose brightness says where a pixel is: every preprocessing that scales, cuts and pads comes
out as what it does, whoever wrote it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.truth import UNJUDGED, Mask

_STRAY = 3.0  # levels of brightness by which a place may miss the line, of 255
_FEWEST = 4  # places that a line is laid through

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Placing:
    """A point x of the picture comes to `x * scale + shift` of the input, both from the left or upper edge in pixels.

    scale, shift: across, then down. size: of the input, height and width.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    size: tuple[int, int]

    def boxes(self, corners: NDArray[np.float64]) -> NDArray[np.float32]:
        """Corners [n, 4] in the picture -> in the input, cut at its edges."""
        moved = corners * (*self.scale, *self.scale) + (*self.shift, *self.shift)
        height, width = self.size
        return np.clip(moved, 0, (width, height, width, height)).astype(np.float32)

    def mask(self, mask: NDArray[np.uint8]) -> Mask:
        """A mask of the picture [h, w] -> of the input, each pixel that of the picture it lies on."""
        found = np.full(self.size, UNJUDGED, np.uint8)
        columns, rows = (
            np.floor((np.arange(count) + 0.5 - shift) / scale + 1e-3).astype(np.int64)
            for count, shift, scale in zip(self.size[::-1], self.shift, self.scale, strict=True)
        )
        down = np.flatnonzero((rows >= 0) & (rows < mask.shape[0]))
        right = np.flatnonzero((columns >= 0) & (columns < mask.shape[1]))
        found[np.ix_(down, right)] = mask[np.ix_(rows[down], columns[right])]
        return found


def placing_of(transform: Callable[[Image.Image], Any], width: int, height: int, network: str) -> Placing:
    """Find out where pictures of a size are put.

    Args:
        transform: PIL image -> tensor [C, H, W], affine in the colours.
        width: of the pictures.
        height: of the pictures.
        network: what an error calls it.

    Raises:
        UserError: where it is more than scaling, cutting and padding.
    """
    ramp = np.round(np.linspace(0, 255, width)), np.round(np.linspace(0, 255, height))
    across = np.broadcast_to(ramp[0][None], (height, width))
    down = np.broadcast_to(ramp[1][:, None], (height, width))
    flat = np.zeros((height, width))
    dark, light, columns, rows = (_seen(transform, picture) for picture in (flat, flat + 255, across, down))
    spread = light - dark
    inside = np.abs(spread) > np.abs(spread).max() / 2  # padding is the same in all of them
    lit = np.where(inside, spread, 1)
    to_x = _line(((columns - dark) / lit)[inside.any(1)], inside[inside.any(1)], width, network)
    to_y = _line(((rows - dark) / lit)[:, inside.any(0)].T, inside[:, inside.any(0)].T, height, network)
    return Placing((to_x[0], to_y[0]), (to_x[1], to_y[1]), (dark.shape[0], dark.shape[1]))


def _seen(transform: Callable[[Image.Image], Any], brightness: Values) -> Values:
    """The first channel of what comes of a grey picture [h, w]."""
    grey = Image.fromarray(brightness.astype(np.uint8)).convert("RGB")
    found: Values = np.asarray(transform(grey)[0], np.float64)
    return found


def _line(shares: Values, inside: NDArray[np.bool_], length: int, network: str) -> tuple[float, float]:
    """Scale and shift of one direction.

    Args:
        shares: [lines, places], how bright each place is, 0 at the picture's first pixel and 1 at its last.
        inside: [lines, places], what is no padding.
        length: of the picture, in pixels.
        network: what an error calls it.
    """
    middle = len(shares) // 2
    places = np.flatnonzero(inside[middle])
    level = 1.5 / 255
    # Edges are blurred by what scales, and the ends of the ramp tell nothing of where they were cut.
    even = places[(shares[middle, places] > level) & (shares[middle, places] < 1 - level)]
    even = even[1:-1] if len(even) > _FEWEST + 2 else even
    if len(even) < _FEWEST:
        raise UserError(_unplaceable(network))
    found, put = shares[middle, even] * (length - 1) + 0.5, even + 0.5
    slope, start = np.polyfit(put, found, 1)
    stray = np.abs(put * slope + start - found).max() / max(1.0, (length - 1) / 255)
    if slope <= 0 or stray > _STRAY:
        raise UserError(_unplaceable(network))
    # Pictures are scaled to whole pixels, and cut and padded by whole ones.
    scale = max(1, round(length / slope)) / length
    return scale, float(round(float((put - found * scale).mean())))


def _unplaceable(network: str) -> str:
    return (
        f"the preprocessing of {network} does more than scale, cut and pad, so labelled boxes and masks cannot be put"
        " where it puts their pixels: give images without annotations"
    )
