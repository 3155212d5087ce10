"""Draw, score and select until every class has its quota or has reached the pool limit."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from calibrate.pool import GeneratedImage, ImageRequest, Pool
from calibrate.prompts import UNLABELLED, PromptBook
from calibrate.scoring import Scores, score
from calibrate.selection import Candidate, SelectionRules, interleave, is_usable, planned, select, shortfall
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.data.calibration_set import KEPT, Row
from genq_export.models.loaded import LoadedModel


@dataclass(frozen=True)
class ScoredImage:
    """One image of the pool, its scores (none if it is unusable), and "kept" or what dropped it."""

    generated: GeneratedImage
    scores: Scores
    reason: str


@dataclass(frozen=True)
class Collection:
    """A finished pool. usable: images by class that could be kept. images_per_second: None where none was new."""

    images: list[ScoredImage]
    usable: Counter[int]
    images_per_second: float | None


def collect(
    pool: Pool,
    book: PromptBook,
    model: LoadedModel,
    quota: Sequence[int],
    rules: SelectionRules,
    config: BuildConfig,
    progress: Progress,
) -> Collection:
    """Fill the pool until `quota[label]` images of every class are left after the filters, or its limit is reached.

    With several processes all must call this; only the main one scores, and only its collection is filled.
    """
    images: list[GeneratedImage] = []
    scores: list[Scores] = []
    candidates: list[Candidate] = []
    seconds = 0.0
    wanted = [planned(share, rules) for share in quota]
    requested = 0
    while any(wanted):
        started = time.perf_counter()
        images += _draw(pool, book, interleave(wanted), requested, progress)
        seconds += time.perf_counter() - started
        requested += sum(wanted)
        if not pool.ranks.is_main:
            wanted = pool.ranks.broadcast(wanted)
            continue
        scores = _score(pool, images, model, config, progress)
        candidates = [_candidate(*pair) for pair in zip(images, scores, strict=True)]
        wanted = pool.ranks.broadcast(shortfall(candidates, quota, rules))
    reasons = select(candidates, quota, rules)
    return Collection(
        images=[ScoredImage(*parts) for parts in zip(images, scores, reasons, strict=True)],
        usable=Counter(candidate.label for candidate in candidates if is_usable(candidate, rules)),
        images_per_second=round(pool.fresh / seconds, 2) if pool.fresh else None,
    )


def generated_row(pool: Pool, image: ScoredImage, names: Sequence[str]) -> Row:
    """What the metadata says of an image of the pool."""
    prompt = image.generated.request.prompt
    labelled = names != UNLABELLED
    file = pool.path(image.generated.request.number)
    return Row(
        file_name=f"{file.parent.name}/{file.name}",
        label=prompt.label if labelled else None,
        class_name=names[prompt.label] if labelled else None,
        second_class=None if prompt.second is None else names[prompt.second],
        prompt=prompt.text,
        seed=image.generated.seed,
        scores=image.scores,
        kept=image.reason == KEPT,
        reason=image.reason,
    )


def _draw(pool: Pool, book: PromptBook, labels: Sequence[int], first: int, progress: Progress) -> list[GeneratedImage]:
    requests = [ImageRequest(first + place, book.prompt(first + place, label)) for place, label in enumerate(labels)]
    world = pool.ranks.world
    share = list(progress.track(pool.draw_share(requests), len(requests) // world, "drawing images"))
    if world == 1:
        return share
    return list(pool.draw(requests)) if pool.ranks.is_main else []


def _score(
    pool: Pool, images: Sequence[GeneratedImage], model: LoadedModel, config: BuildConfig, progress: Progress
) -> list[Scores]:
    """Scores of every image in order, none of those that are unusable."""
    paths = [pool.path(image.request.number) for image in images if image.rejected is None]
    scored = progress.track(score(model, paths, config.calibrate, config.device), len(paths), "scoring images")
    found = iter(list(scored))
    return [next(found) if image.rejected is None else {} for image in images]


def _candidate(image: GeneratedImage, scores: Scores) -> Candidate:
    return Candidate(image.request.number, image.request.prompt.label, scores, image.rejected)
