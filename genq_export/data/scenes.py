"""Scenes: objects that were pictured alone, pasted at random places and sizes on dead leaves or on colours.

Who pasted them knows their boxes and their masks, so that detectors and segmenters can be trained and judged without
anybody's drawing a box. An object may hide a part of those that were pasted before it, as in photographs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from genq_export.data.dead_leaves import dead_leaves

SMALLEST, LARGEST = 8, 48  # pixels of an object's longer side
MOST_OBJECTS = 6
BACKGROUND = 0  # in masks; class c is c + 1

_TRIES = 8  # places for an object, before it is left out
_COVERAGE = 6.0  # a garment's brightness times this is how much of its ground it covers
_COVERED = 0.5
_NOISE = 0.03  # strongest, of colours

Picture = NDArray[np.float32]
Background = Callable[[np.random.Generator], Picture]  # -> [side, side, 3] in [0, 1]


@dataclass(frozen=True)
class Difficulty:
    """How hard scenes are.

    near: share of the objects that are put beside one that is already there. least_seen: share of every object that no
    other may hide. mostly_small: lengths are uniform in their logarithm; else they are uniform.
    """

    near: float
    least_seen: float
    mostly_small: bool


USUAL = Difficulty(near=0.3, least_seen=0.5, mostly_small=False)
HARD = Difficulty(near=0.45, least_seen=0.3, mostly_small=True)


@dataclass(frozen=True)
class Scene:
    """A picture, uint8 [side, side, 3], and what is in it.

    mask: uint8 [side, side], `BACKGROUND` or 1 + class. boxes: of what is seen of every object, corners in pixels,
    float32 [objects, 4]. labels: int64 [objects]. hidden: share of each that others hide, float32 [objects].
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    hidden: NDArray[np.float32]


def draw_scene(
    objects: NDArray[np.uint8],
    labels: NDArray[np.int64],
    background: Background,
    rng: np.random.Generator,
    difficulty: Difficulty = USUAL,
) -> Scene:
    """Paste 1 to 6 of the objects on a background of its own.

    Args:
        objects: grey on black, [N, h, w].
        labels: their classes, [N].
        background: as large as the scene.
        rng: decides the scene.
        difficulty: of the scene.
    """
    canvas = _Canvas(background(rng), difficulty)
    for _ in range(rng.integers(1, MOST_OBJECTS + 1)):
        number = rng.integers(len(objects))
        canvas.paste(_cut(objects[number], difficulty.mostly_small, rng), int(labels[number]), rng)
    return canvas.scene(rng)


def backgrounds(side: int, leaves: int, seed: int) -> Background:
    """Half of the backgrounds are a part of one of so many pictures of dead leaves, half two colours.

    Args:
        side: in pixels.
        leaves: pictures of dead leaves; each is drawn once.
        seed: theirs.
    """
    large = side * 3 // 2
    pool = [dead_leaves(large, large, np.random.default_rng((seed, number))) for number in range(leaves)]

    def draw(rng: np.random.Generator) -> Picture:
        if rng.random() < 0.5:
            return two_colours(side, rng)
        top, left = rng.integers(0, large - side + 1, 2)
        part = pool[rng.integers(leaves)][top : top + side, left : left + side]
        turned: Picture = np.rot90(part, int(rng.integers(4))).astype(np.float32)
        return turned / np.float32(255)

    return draw


def two_colours(side: int, rng: np.random.Generator) -> Picture:
    """One colour that becomes another along a straight line, [side, side, 3]."""
    first, last = rng.random((2, 3), np.float32)
    down, right = rng.uniform(-1, 1, 2).astype(np.float32)
    places = np.linspace(-1, 1, side, dtype=np.float32)
    along = (down * places[:, None] + right * places[None]) / (abs(down) + abs(right) + np.float32(1e-6))
    share = ((along + 1) / 2)[..., None]
    mixed: Picture = first * (1 - share) + last * share
    return mixed


@dataclass(frozen=True)
class _Cutout:
    """Colours [h, w, 3], and how much of the ground each pixel covers [h, w]."""

    colours: Picture
    coverage: Picture


class _Canvas:
    """A background and what was pasted on it."""

    def __init__(self, picture: Picture, difficulty: Difficulty) -> None:
        self._picture, self._difficulty = picture.copy(), difficulty
        self._owner = np.full(picture.shape[:2], -1, np.int64)  # number of the object that a pixel shows
        self._labels: list[int] = []
        self._areas: list[int] = []  # pixels of each, had nothing hidden it

    def paste(self, cutout: _Cutout, label: int, rng: np.random.Generator) -> None:
        """Put it where it hides no other too much; left out where no such place is found."""
        covered = cutout.coverage > _COVERED
        for _ in range(_TRIES):
            place = self._place(covered.shape, rng)
            if self._leaves_enough(place, covered):
                break
        else:
            return
        share, window = cutout.coverage[..., None], self._picture[place]
        self._picture[place] = share * cutout.colours + (1 - share) * window
        self._owner[place][covered] = len(self._labels)
        self._labels.append(label)
        self._areas.append(int(covered.sum()))

    def scene(self, rng: np.random.Generator) -> Scene:
        """What has become of it, with a little noise as of a camera."""
        noisy = self._picture + rng.standard_normal(self._picture.shape, np.float32) * np.float32(
            rng.uniform(0, _NOISE)
        )
        seen = [self._owner == number for number in range(len(self._labels))]
        classes = np.array([BACKGROUND, *(label + 1 for label in self._labels)], np.uint8)
        return Scene(
            picture=(noisy.clip(0, 1) * 255).round().astype(np.uint8),
            mask=classes[self._owner + 1],
            boxes=np.array([_extent(pixels) for pixels in seen], np.float32).reshape(-1, 4),
            labels=np.array(self._labels, np.int64),
            hidden=_hidden([int(pixels.sum()) for pixels in seen], self._areas),
        )

    def _place(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice]:
        """Anywhere, or so that it meets an object that is there already."""
        room = np.array(self._owner.shape, np.int64) - np.array(shape, np.int64)
        corner = rng.integers(0, room + 1)
        if self._labels and rng.random() < self._difficulty.near:
            left, top, right, bottom = _extent(self._owner == rng.integers(len(self._labels)))
            reach = np.add(shape, (bottom - top, right - left)) * 0.45
            middle = np.array([top + bottom, left + right]) / 2 + rng.uniform(-1, 1, 2) * reach
            corner = (middle - np.array(shape) / 2).round().astype(np.int64).clip(0, room)
        return slice(corner[0], corner[0] + shape[0]), slice(corner[1], corner[1] + shape[1])

    def _leaves_enough(self, place: tuple[slice, slice], covered: NDArray[np.bool_]) -> bool:
        """Is enough of every object still seen?"""
        lost = np.bincount(self._owner[place][covered] + 1, minlength=len(self._labels) + 1)[1:]
        before = np.bincount(self._owner.ravel() + 1, minlength=len(self._labels) + 1)[1:]
        return bool((before - lost >= self._difficulty.least_seen * np.array(self._areas)).all())


def _cut(picture: NDArray[np.uint8], mostly_small: bool, rng: np.random.Generator) -> _Cutout:
    """An object cut out, mirrored or not, made as large as chance has it and given a colour."""
    grey = picture.astype(np.float32) / np.float32(255)
    left, top, right, bottom = _extent(grey * _COVERAGE > _COVERED)
    grey = grey[top:bottom, left:right]
    share = rng.random()
    by_ratio, by_pixels = SMALLEST * (LARGEST / SMALLEST) ** share, SMALLEST + (LARGEST - SMALLEST) * share
    length = by_ratio if mostly_small else by_pixels
    height, width = (max(2, round(size * length / max(grey.shape))) for size in grey.shape)
    grey = np.ascontiguousarray(grey[:, ::-1]) if rng.random() < 0.5 else grey
    light = resized(grey, height, width)
    coverage = resized((grey * np.float32(_COVERAGE)).clip(0, 1), height, width)
    colour = _colour(rng)
    shade = np.float32(0.25) + np.float32(0.75) * (light / np.maximum(coverage, np.float32(0.1))).clip(0, 1)
    return _Cutout(shade[..., None] * colour, coverage)


def _colour(rng: np.random.Generator) -> Picture:
    """White, or one of some brightness."""
    colour: Picture = np.ones(3, np.float32)
    if rng.random() < 0.5:
        colour = rng.random(3, np.float32)
        colour = (colour * (np.float32(rng.uniform(0.6, 1)) / colour.max())).astype(np.float32)
    return colour


def _hidden(seen: Sequence[int], whole: Sequence[int]) -> NDArray[np.float32]:
    """Shares of areas that are not seen."""
    return (1 - np.array(seen, np.float64) / np.array(whole, np.float64)).astype(np.float32)


def _extent(pixels: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is true, the last two exclusive; of nothing the whole."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return 0, 0, pixels.shape[1], pixels.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def resized(picture: Picture, height: int, width: int) -> Picture:
    """A picture [h, w] in another size, by the triangle filter that Pillow calls bilinear."""
    found = _resampling(picture.shape[0], height) @ picture @ _resampling(picture.shape[1], width).T
    return found.astype(np.float32)


@lru_cache(maxsize=4096)
def _resampling(before: int, after: int) -> Picture:
    """Weights [after, before] of the triangle filter, as wide as a pixel of the coarser of the two."""
    scale = before / after
    reach = max(scale, 1.0)
    middles = (np.arange(after) + 0.5) * scale
    distance = np.abs(middles[:, None] - (np.arange(before) + 0.5)) / reach
    weights = np.maximum(1 - distance, 0)
    found: Picture = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return found
