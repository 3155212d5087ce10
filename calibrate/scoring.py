"""One streaming pass over a pool: what every filter says of every image."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from calibrate.filters.filter import filters_for
from genq_export.config.calibrate import CalibrateConfig
from genq_export.data.calibration_set import rounded
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network.probabilities import LastProbabilities
from genq_export.tasks.task import task_of

FORWARD_BATCH = 64
GROUP = 256  # images whose statistics are compared leaving one out; bounds memory whatever the pool

Scores = dict[str, float]  # by name of the filter


def score(
    model: LoadedModel,
    paths: Sequence[Path],
    settings: CalibrateConfig,
    device: str,
    group: int = GROUP,
    batch: int = FORWARD_BATCH,
) -> Iterator[Scores]:
    """Yield the scores of every file, in order, rounded as the metadata states them: the selection can be redone.

    Args:
        model: the network that looks at the images; on `device` meanwhile.
        paths: files of images.
        settings: of the set.
        device: as torch names it.
        group: images compared with each other at most. Memory grows with it, not with the number of files.
        batch: images of one forward pass.
    """
    model.module.to(device)
    try:
        for start, end in groups(len(paths), group):
            for scores in score_group(model, _batches(model, paths[start:end], device, batch), settings):
                yield {name: rounded(value) for name, value in scores.items()}
    finally:
        model.module.cpu()


def groups(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Nearly equal consecutive ranges of at most `size` that cover `count`: no last group of one."""
    number = -(-count // size)
    for index in range(number):
        yield index * count // number, (index + 1) * count // number


def _batches(model: LoadedModel, paths: Sequence[Path], device: str, size: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(paths), size):
        yield load_images(paths[start : start + size], model).to(device)


@torch.inference_mode()
def score_group(model: LoadedModel, batches: Iterable[torch.Tensor], settings: CalibrateConfig) -> list[Scores]:
    """Score images that are compared with each other: one forward pass a batch, float32 [B, C, H, W]."""
    filters, task, count = filters_for(model), task_of(model.task), 0
    records: list[list[Any]] = []
    logits: list[torch.Tensor] = []
    for images in batches:
        with ExitStack() as recordings:
            records.append([recordings.enter_context(each.recording(model.module, len(images))) for each in filters])
            last = recordings.enter_context(LastProbabilities())
            answer = last.in_front(model.module(images))
        count += len(images)
        found = task.logits(answer)
        logits += [] if found is None else [found]
    columns = [
        each.scores([of_pass[place] for of_pass in records], logits, settings) for place, each in enumerate(filters)
    ]
    names = [each.name for each in filters]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)] or [{}] * count
