"""What a short probe says of a long run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibrate import preflight
from calibrate.sources.diffusers_images import Sampler
from calibrate.sources.drawing_time import drawing_seconds, in_words
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError


class Timed:
    """A pipeline of 3 seconds a batch and half a second a step and image, on a clock of its own."""

    def __init__(self, steps: int, size: int) -> None:
        self.sampler = Sampler(steps, 3.5, size, 16, "float32", "cpu")
        self.now, self.drawn = 0.0, list[tuple[int, int]]()

    def draw(self, prompts: Any, seeds: Any) -> None:
        self.drawn.append((len(prompts), self.sampler.steps))
        self.now += 3 + 0.5 * self.sampler.steps * len(prompts)


@pytest.mark.parametrize(
    ("steps", "size", "together"), [(50, 512, 1), (30, 64, 4), (14, 32, 16), (4, 512, 1), (1, 512, 1)]
)
def test_few_steps_tell_of_many(steps: int, size: int, together: int) -> None:
    images = Timed(steps, size)
    before = replace(images.sampler)
    seconds = drawing_seconds(images, lambda: images.now)  # type: ignore[arg-type]
    assert seconds == pytest.approx((3 + 0.5 * steps * together) / together)
    assert images.sampler == before and max(steps for _, steps in images.drawn) <= 4
    assert {count for count, _ in images.drawn} == {together}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "a second"), (89, "89 seconds"), (900, "15 minutes"), (9000, "2.5 hours")]
)
def test_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_plan_says_what_was_measured_and_what_is_assumed(make_config: Callable[..., BuildConfig]) -> None:
    said = str(preflight.estimate(make_config(images=100)))
    assert said.startswith("drawing takes about ") and "(148 images of " in said and "assumed" in said


def test_nothing_is_said_where_nothing_is_slow_and_not_measured_where_nothing_is_here(
    make_config: Callable[..., BuildConfig],
) -> None:
    assert preflight.estimate(make_config(generator="leaves")) is None
    assert "not measured: nobody/has-this is not here yet" in str(
        preflight.estimate(make_config(generator="nobody/has-this"))
    )


def test_a_plan_finds_what_the_files_do_not_tell(
    make_config: Callable[..., BuildConfig], pipeline_folder: Path
) -> None:
    with pytest.raises(UserError, match="divisible by"):
        preflight.estimate(make_config(size=17))
