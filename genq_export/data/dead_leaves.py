"""Dead leaves: images of nothing that look like photographs to statistics. No weights, no download, no class.

The dead leaves model (Lee, Mumford & Huang, IJCV 2001): shapes of all sizes fall on one another, the last on top, as
objects hide what is behind them. Edges, even areas and correlations at all scales come out as in photographs, which is
enough to train a network's early layers on (Baradad et al., NeurIPS 2021) and, here, to calibrate on.

Sizes have the density r^-2 or are uniform, half of the shapes each. Ours: shapes are ellipses, rectangles and rhombi,
shaded from side to side, with a texture of 1/f^b noise; their colours are near grey, as those of photographs are; the
picture is blurred a little, as by a lens.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from genq_export.data.noise import Picture, noise

_REFERENCE = 224  # pixels of a side, for which the lengths below hold; others go in proportion
_SMALLEST = 4.0  # of a leaf, half its length
_TEXTURES = 4
_COLOUR = 0.15  # standard deviation of a leaf's colours from its grey
_TEXTURE = 0.08  # mean strength
_SHADE = 0.15  # standard deviation of the change of brightness from a leaf's middle to its end


def pictures(height: int, width: int, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """One picture a seed, uint8 [len(seeds), H, W, 3]."""
    return np.stack([dead_leaves(height, width, np.random.default_rng(seed)) for seed in seeds])


def dead_leaves(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture, uint8 [H, W, 3]."""
    unit = min(height, width) / _REFERENCE
    smallest, largest = _SMALLEST * unit, min(height, width) * rng.uniform(0.2, 0.6)
    textures = [noise(height, width, rng.uniform(0.8, 1.8), rng) for _ in range(_TEXTURES)]
    picture = np.ones((height, width, 3)) * _colour(rng)
    for _ in range(rng.integers(30, 200)):
        u = rng.random()
        by_law = smallest * largest / (smallest + u * (largest - smallest))
        length = by_law if rng.random() < 0.5 else rng.uniform(smallest, largest / 2)
        _fall(picture, length, textures[rng.integers(_TEXTURES)], rng)
    blur = rng.uniform(0.3, 1.2) * unit
    blurred: Picture = gaussian_filter(picture, (blur, blur, 0))
    return (blurred.clip(0, 1) * 255).round().astype(np.uint8)


def _fall(picture: Picture, length: float, texture: Picture, rng: np.random.Generator) -> None:
    """Lay one leaf of half this length on the picture, in place."""
    height, width = picture.shape[:2]
    y, x = rng.uniform(-0.1, 1.1, 2) * (height, width)
    angle, aspect, shape = rng.uniform(0, np.pi), rng.uniform(0.3, 1), rng.integers(3)
    strength, shade = rng.exponential(_TEXTURE), rng.normal(0, _SHADE)
    reach = 1.5 * length  # of a rectangle's corner
    top, bottom = (int(np.clip(value, 0, height)) for value in (y - reach, y + reach + 1))
    left, right = (int(np.clip(value, 0, width)) for value in (x - reach, x + reach + 1))
    down, across = np.mgrid[top:bottom, left:right] - np.array([y, x])[:, None, None]
    along = (across * np.cos(angle) + down * np.sin(angle)) / length
    beside = (down * np.cos(angle) - across * np.sin(angle)) / (length * aspect)
    inside = (
        along**2 + beside**2 < 1,
        (np.abs(along) < 1) & (np.abs(beside) < 1),
        np.abs(along) + np.abs(beside) < 1,
    )[shape]
    window = picture[top:bottom, left:right]
    covered = _colour(rng) * (1 + shade * along[..., None]) + strength * texture[top:bottom, left:right]
    window[inside] = covered[inside]


def _colour(rng: np.random.Generator) -> Picture:
    return (rng.random() + rng.normal(0, _COLOUR, 3)).clip(0, 1)
