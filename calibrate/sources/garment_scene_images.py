"""What draws scenes of garments: the zoo's pipeline, and paste."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.generators import Generator
from calibrate.prompts import Prompt
from calibrate.sources.diffusers_images import DiffusersImages, load_diffusers_images
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.data.scenes import LARGEST, Background, backgrounds, draw_scene

_PROMPT = "a studio photo of a {}"  # in the pipeline's words: on black, so that it can be cut out
_LEAVES, _LEAVES_SEED = 200, 11
_DARK = 24  # of 255: brightest mean of the frame of a garment on black
_FRAME = 2  # pixels


class GarmentScenes:
    """What draws them (an `ImageSource`). side: of an image, in pixels, at least `LARGEST`."""

    license = "mit"

    def __init__(self, garments: DiffusersImages, side: int) -> None:
        self.name = "fashion_scenes"
        self._garments, self._side = garments, max(side, LARGEST)
        self._background: Background | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Of what draws the garments, for report and card."""
        return {"method": "garments pasted in scenes", "scene": self._side, **self._garments.settings}

    @property
    def batch_size(self) -> int:
        """Images drawn together, of as many garments."""
        return self._garments.batch_size

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of an image besides its seed."""
        return {"scenes": self._side, "leaves": [_LEAVES, _LEAVES_SEED], **self._garments.identity}

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """One scene a seed, of the garments that are drawn for all: uint8 [B, H, W, 3], all usable."""
        if self._background is None:
            self._background = backgrounds(self._side, _LEAVES, _LEAVES_SEED)
        labels = np.array([seed % len(zoo.CLASS_NAMES) for seed in seeds], np.int64)
        asked = [Prompt(_PROMPT.format(zoo.CLASS_NAMES[label]), int(label)) for label in labels]
        drawn, _ = self._garments.draw(asked, seeds)
        cut = on_black(drawn)
        chosen = cut if cut.any() else np.ones(len(drawn), np.bool_)
        garments, kinds = drawn[chosen].mean(-1).round().astype(np.uint8), labels[chosen]
        scenes = [draw_scene(garments, kinds, self._background, np.random.default_rng(seed)) for seed in seeds]
        return np.stack([scene.picture for scene in scenes]), [None] * len(scenes)


def on_black(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of pictures [N, H, W, 3] are of something that can be cut out, as the ground around it is black."""
    inner = np.zeros(pictures.shape[1:3], np.bool_)
    inner[_FRAME:-_FRAME, _FRAME:-_FRAME] = True
    frames = pictures[:, ~inner].mean((1, 2))
    found: NDArray[np.bool_] = (frames < _DARK) & (pictures.max((1, 2, 3)) > 4 * _DARK)
    return found


def load_garment_scenes(config: BuildConfig, side: int, progress: Progress) -> GarmentScenes:
    """Load the zoo's pipeline.

    Raises:
        UserError: where it is not whole.
    """
    progress.say(f"calibrate: loading {zoo.ZOO_PIPELINE}")
    garments = load_diffusers_images(
        Generator(zoo.ZOO_PIPELINE, zoo.pipeline_folder()), config.calibrate, config.device
    )
    return GarmentScenes(garments, side)
