"""Images that are drawn by arithmetic, without a model or a class name: `--generator leaves`, `--generator text`."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from calibrate.prompts import UNLABELLED, Prompt, PromptBook
from calibrate.sources.source import Opening, OpenSource, Source
from genq_export.data import dead_leaves, text_pictures
from genq_export.models.loaded import LoadedModel

Draw = Callable[[int, int, Sequence[int]], np.ndarray]


class DrawnPicturesSource(Source):
    """Images of no class, of the network's size.

    name: of the generator. method: as people call it. draw: height, width and seeds -> uint8 [N, H, W, 3]. packages:
    whose versions decide a picture.
    """

    def __init__(self, name: str, method: str, draw: Draw, packages: Sequence[str] = ("numpy",)) -> None:
        self.name, self.method, self.draw, self.packages = name, method, draw, packages

    def class_names(self, model: LoadedModel) -> tuple[str, ...]:
        """None of the network's."""
        return UNLABELLED

    def open(self, opening: Opening) -> OpenSource:
        """Nothing to load."""
        images = DrawnPictures(self, *opening.model.input_size[1:])
        return OpenSource(images, PromptBook(UNLABELLED, ("",), opening.config.seed))


class DrawnPictures:
    """What draws them. height, width: pixels."""

    license = "cc0-1.0"
    batch_size = 16

    def __init__(self, source: DrawnPicturesSource, height: int, width: int) -> None:
        self.name = source.name
        self._source, self._size = source, (height, width)

    @property
    def settings(self) -> dict[str, Any]:
        """Method and size, for report and card."""
        return {"method": self._source.method, "size": self._size[1]}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of an image besides its seed."""
        versions = {package: version(package) for package in self._source.packages}
        return {"generator": self.name, "size": list(self._size), **versions}

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """One image a seed, whatever the prompt: uint8 [B, H, W, 3], all usable."""
        return self._source.draw(*self._size, seeds), [None] * len(prompts)


DEAD_LEAVES = DrawnPicturesSource("leaves", "dead leaves", dead_leaves.pictures)
TEXT = DrawnPicturesSource("text", "random words", text_pictures.pictures, ("numpy", "pillow"))
