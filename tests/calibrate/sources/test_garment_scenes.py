"""Scenes of drawn garments: the same for the same seeds, of the network's size, without what cannot be cut out."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from calibrate.prompts import Prompt
from calibrate.sources.diffusers_images import DiffusersImages
from calibrate.sources.garment_scene_images import GarmentScenes, on_black
from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.models.source import door_for

PROMPTS = [Prompt("", 0)] * 6


class Pipeline:
    """In the place of one that takes seconds: the zoo's test images, every third in negative."""

    batch_size = 6

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.settings: dict[str, Any] = {"steps": 1}
        self.identity: dict[str, Any] = {"steps": 1}

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        self.asked += [prompt.text for prompt in prompts]
        drawn = zoo.test_set()[0][list(seeds)].copy()
        drawn[2::3] = 255 - drawn[2::3]
        return drawn, [None] * len(seeds)


def source(side: int = 80) -> tuple[GarmentScenes, Pipeline]:
    pipeline = Pipeline()
    return GarmentScenes(cast(DiffusersImages, pipeline), side), pipeline


def test_scenes_are_of_the_networks_size_and_follow_from_their_seeds() -> None:
    images, pipeline = source()
    first, usable = images.draw(PROMPTS, range(6))
    again, _ = images.draw(PROMPTS, range(6))
    other, _ = images.draw(PROMPTS, range(6, 12))
    assert first.shape == (6, 80, 80, 3) and first.dtype == np.uint8 and usable == [None] * 6
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert pipeline.asked[:2] == ["a studio photo of a t-shirt", "a studio photo of a trouser"]


def test_only_what_stands_on_black_is_cut_out() -> None:
    drawn, _ = Pipeline().draw(PROMPTS, range(6))
    assert on_black(drawn).tolist() == [True, True, False, True, True, False]
    assert not on_black(np.zeros((2, 32, 32, 3), np.uint8)).any()


@pytest.mark.parametrize("name", zoo.ZOO_SCENE_MODELS)
def test_the_zoos_networks_of_scenes_are_calibrated_with_them(name: str) -> None:
    config = ModelConfig(name=name)
    assert door_for(config).default_generator(config) == "fashion_scenes"
