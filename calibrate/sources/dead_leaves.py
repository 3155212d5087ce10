"""Images of nothing that look like photographs to statistics: `--generator leaves` (`genq_export.data.dead_leaves`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from calibrate.prompts import UNLABELLED, Prompt, PromptBook
from calibrate.sources.source import Opening, OpenSource, Source
from genq_export.data.dead_leaves import pictures
from genq_export.models.loaded import LoadedModel


class DeadLeavesSource(Source):
    """Images of no class, of the network's size."""

    def class_names(self, model: LoadedModel) -> tuple[str, ...]:
        """None of the network's."""
        return UNLABELLED

    def open(self, opening: Opening) -> OpenSource:
        """Nothing to load."""
        images = DeadLeavesImages(*opening.model.input_size[1:])
        return OpenSource(images, PromptBook(UNLABELLED, ("",), opening.config.seed))


DEAD_LEAVES = DeadLeavesSource()


class DeadLeavesImages:
    """What draws them. height, width: pixels."""

    name = "leaves"
    license = "cc0-1.0"
    batch_size = 16

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)

    @property
    def settings(self) -> dict[str, Any]:
        """Method and size, for report and card."""
        return {"method": "dead leaves", "size": self._size[1]}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of an image besides its seed."""
        return {"generator": self.name, "size": list(self._size), "numpy": np.__version__}

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """One image a seed, whatever the prompt: uint8 [B, H, W, 3], all usable."""
        return pictures(*self._size, seeds), [None] * len(prompts)
