"""How long a pipeline will draw, from a short probe on this machine."""

import time
from collections.abc import Callable
from dataclasses import replace

from calibrate.prompts import Prompt
from calibrate.sources.diffusers_images import DiffusersImages

_PROBED_PIXELS = 1 << 14  # small images are drawn several at once, as they will be
_FEW, _MORE = 2, 4  # steps; their difference tells what a step takes, and the rest what does not depend on steps


def drawing_seconds(images: DiffusersImages, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure what one image takes, drawing a few with few steps.

    Args:
        images: an open pipeline, whose settings are as before afterwards.
        clock: seconds.

    Returns:
        Seconds an image.

    Raises:
        UserError: where the pipeline cannot draw.
    """
    sampler = images.sampler
    together = min(sampler.batch_size, max(1, _PROBED_PIXELS // sampler.size**2))

    def seconds(steps: int) -> float:
        images.sampler = replace(sampler, steps=steps)
        started = clock()
        images.draw([Prompt("a photo", 0)] * together, list(range(together)))
        return clock() - started

    try:
        seconds(min(_FEW, sampler.steps))  # the first call takes longer
        if sampler.steps <= _MORE:
            return seconds(sampler.steps) / together
        few, more = seconds(_FEW), seconds(_MORE)
    finally:
        images.sampler = sampler
    step = max(0.0, more - few) / (_MORE - _FEW)
    return (few + (sampler.steps - _FEW) * step) / together


def in_words(seconds: float) -> str:
    """`a second`, `40 seconds`, `12 minutes`, `3.5 hours`."""
    if seconds < 90:
        return f"{round(seconds)} seconds" if seconds >= 1.5 else "a second"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
