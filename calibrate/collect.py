"""Draw, score and select until every class has its quota or has reached the pool limit."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from calibrate.dataset import KEPT, Row
from calibrate.pool import GeneratedImage, ImageRequest, Pool
from calibrate.prompts import UNLABELLED, PromptBook
from calibrate.scoring import Scores, score
from calibrate.selection import Candidate, interleave, is_usable, planned, select, shortfall
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.progress import Progress
from genq_export.models.loaded import LoadedModel


@dataclass(frozen=True)
class ScoredImage:
    """One drawn image, its scores (None if it is unusable), and "kept" or what dropped it."""

    drawn: GeneratedImage
    scores: Scores | None
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
    settings: CalibrateConfig,
    device: str,
    progress: Progress,
) -> Collection:
    """Fill the pool until `quota[label]` images of every class are left after the filters, or its limit is reached.

    With several processes all must call this; only the main one scores, and only its collection is filled.
    """
    drawn: list[GeneratedImage] = []
    scores: list[Scores | None] = []
    candidates: list[Candidate] = []
    seconds = 0.0
    wanted = [planned(share, settings) for share in quota]
    ordered = 0
    while any(wanted):
        started = time.perf_counter()
        drawn += _draw(pool, book, interleave(wanted), ordered, progress)
        seconds += time.perf_counter() - started
        ordered += sum(wanted)
        if not pool.ranks.is_main:
            wanted = pool.ranks.agree(wanted)
            continue
        scores = _score(pool, drawn, model, settings.energy_temperature, device, progress)
        candidates = [_candidate(*pair) for pair in zip(drawn, scores, strict=True)]
        wanted = pool.ranks.agree(shortfall(candidates, quota, settings))
    reasons = select(candidates, quota, settings)
    return Collection(
        images=[ScoredImage(*parts) for parts in zip(drawn, scores, reasons, strict=True)],
        usable=Counter(candidate.label for candidate in candidates if is_usable(candidate, settings)),
        images_per_second=round(pool.fresh / seconds, 2) if pool.fresh else None,
    )


def judged_row(pool: Pool, image: ScoredImage, names: Sequence[str]) -> Row:
    """What the metadata says of a drawn image."""
    prompt, scores = image.drawn.request.prompt, image.scores
    labelled = names != UNLABELLED
    file = pool.path(image.drawn.request.number)
    return Row(
        file_name=f"{file.parent.name}/{file.name}",
        label=prompt.label if labelled else None,
        class_name=names[prompt.label] if labelled else None,
        second_class=None if prompt.second is None else names[prompt.second],
        prompt=prompt.text,
        seed=image.drawn.seed,
        energy=scores.energy if scores else None,
        bn_sensitivity=scores.bn_sensitivity if scores else None,
        patch_entropy=scores.patch_entropy if scores else None,
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
    pool: Pool, drawn: Sequence[GeneratedImage], model: LoadedModel, temperature: float, device: str, progress: Progress
) -> list[Scores | None]:
    """Scores in request, rounded as the metadata states them: the selection can be redone from the file."""
    paths = [pool.path(item.request.number) for item in drawn if item.rejected is None]
    stream = progress.track(score(model, paths, temperature, device), len(paths), "scoring images")
    scored = iter([found.rounded() for found in stream])
    return [next(scored) if item.rejected is None else None for item in drawn]


def _candidate(item: GeneratedImage, scores: Scores | None) -> Candidate:
    energy, distribution_score = (scores.energy, scores.distribution_score) if scores else (None, None)
    return Candidate(item.request.number, item.request.prompt.label, energy, distribution_score, item.rejected)
