"""The shortest parts of each kind, as somebody would add them; docs/extending.md shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from calibrate.filters.filter import Filter
from calibrate.prompts import Prompt, PromptBook
from calibrate.sources.source import Opening, OpenSource, Source, network_classes
from genq_export import zoo
from genq_export.config.calibrate import CalibrateConfig
from genq_export.config.model import ModelConfig
from genq_export.models.door import Door
from genq_export.models.loaded import LoadedModel


class NoiseSource(Source):
    """Images of noise."""

    def open(self, opening: Opening) -> OpenSource:
        """Nothing to load."""
        prompts = PromptBook(network_classes(opening.model), ("",), opening.config.seed)
        return OpenSource(NoiseImages(opening.model.input_size[1:]), prompts)


NOISE = NoiseSource()


class NoiseImages:
    """What draws them."""

    name, license, batch_size = "noise", "cc0-1.0", 16

    def __init__(self, size: tuple[int, int]) -> None:
        self.settings: dict[str, Any] = {"height": size[0], "width": size[1]}
        self.identity = {"generator": self.name, **self.settings}

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """One image a seed."""
        size = (self.settings["height"], self.settings["width"], 3)
        images = [np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8) for seed in seeds]
        return np.stack(images), [None] * len(seeds)


class MarginFilter(Filter):
    """Keep images whose best class stands out most."""

    name = role = "margin"
    low_is_good = False

    def scores(self, records: Sequence[Any], logits: Sequence[torch.Tensor], settings: CalibrateConfig) -> list[float]:
        """Best logit less the second."""
        best = torch.cat(list(logits)).topk(2).values
        return [float(value) for value in best[:, 0] - best[:, 1]]

    def kept_share(self, settings: CalibrateConfig) -> float:
        """A half."""
        return 0.5


MARGIN = MarginFilter()


class MirrorDoor(Door):
    """`mirror:fashion_resnet`: the zoo's network, behind a door of its own."""

    def matches(self, config: ModelConfig) -> bool:
        """By its prefix."""
        return config.name.startswith("mirror:")

    def identity(self, config: ModelConfig) -> str:
        """Of the name alone: the weights do not change."""
        return config.name

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """The zoo's network with the preprocessing that it needs."""
        module = zoo.create_model(config.name.removeprefix("mirror:"))
        half = (0.5, 0.5, 0.5)
        return LoadedModel(config.name, module, (3, 32, 32), half, half, 1.0, "bilinear", zoo.CLASS_NAMES, 10)


MIRROR = MirrorDoor()
