"""Endless training scenes: garments of the training images on backgrounds, each scene from a number of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from genq_export.data.scenes import HARD, USUAL, Scene, backgrounds, draw_scene
from genq_export.zoo.names import SCENE_SIDE
from tools.train_zoo.idx import load_split

HELD_OUT = 5_000  # of the training images: garments of the scenes by which choices are made
_LEAVES = 500
_LEAVES_SEED = 1_000_000  # far from those of the test scenes


def scene_source(
    data: Path, part: Literal["train", "held out"], seed: int, leaves: int = _LEAVES
) -> Callable[[int], Scene]:
    """Return what draws scene number i of a part of the training images; the test images are in none."""
    garments, labels = _garments(data, part)
    background = backgrounds(SCENE_SIDE, leaves, _LEAVES_SEED + (part == "held out") * _LEAVES_SEED)

    def draw(number: int) -> Scene:
        rng = np.random.default_rng((seed, number))
        return draw_scene(garments, labels, background, rng, HARD if part == "train" else USUAL)

    return draw


def _garments(data: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images, labels = load_split(data, "train")
    chosen = slice(-HELD_OUT, None) if part == "held out" else slice(None, -HELD_OUT)
    return images[chosen], labels[chosen]
