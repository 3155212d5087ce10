"""The calibrate stage: draw a pool, score it, keep the best of each class, write the set."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from calibrate.card import dataset_card
from calibrate.contact_sheet import write_contact_sheet
from calibrate.dataset import KEPT, METADATA, Row, write_rows
from calibrate.pool import Drawn, Order, Pool
from calibrate.preflight import identity, problems
from calibrate.prompts import PromptBook
from calibrate.scoring import Scores, score
from calibrate.select import Candidate, interleave, is_usable, planned, quotas, select, shortfall
from calibrate.sources import class_names, filters, open_source
from calibrate.summary import summarise
from genq_export.config import BuildConfig
from genq_export.errors import UserError
from genq_export.models import LoadedModel
from genq_export.progress import Progress
from genq_export.workspace import StageResult, Workspace, write_atomic

__all__ = ["identity", "problems", "run"]

FOLDER, IMAGES, SHEET, CARD = "calibration", "images", "contact_sheet.png", "README.md"


@dataclass(frozen=True)
class _Scored:
    drawn: Drawn
    scores: Scores | None
    candidate: Candidate


def run(workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress) -> StageResult:
    """Make the calibration set in `calibration/` of the workspace, going on with what an earlier run left there.

    Raises UserError where the generator cannot be loaded, the classes have no names, or no image can be kept.
    """
    settings = filters(config)
    source, book = open_source(config, model, progress)
    folder = workspace.path(FOLDER)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    pool = Pool(folder / IMAGES, source, config.seed)

    quota = quotas(settings.images, model.classes)
    drawn: list[Drawn] = []
    wanted = [planned(share, settings) for share in quota]
    started, draw_seconds = time.perf_counter(), 0.0
    while any(wanted):
        drawn += _draw(pool, book, interleave(wanted), len(drawn), progress)
        draw_seconds += time.perf_counter() - started
        scored = _score(pool, drawn, model, config, progress)
        candidates = [item.candidate for item in scored]
        wanted, started = shortfall(candidates, quota, settings), time.perf_counter()
    reasons = select(candidates, quota, settings)
    if KEPT not in reasons:
        raise UserError(_none_kept(reasons))
    pool.keep_only(len(drawn))

    rows = _rows(scored, reasons, model)
    write_rows(folder, rows)
    usable = Counter(candidate.label for candidate in candidates if is_usable(candidate, settings))
    summary = summarise(config, model, source, usable, rows)
    write_contact_sheet(folder / SHEET, folder, rows, f"Calibration set for {model.name}, drawn by {source.name}")
    write_atomic(folder / CARD, dataset_card(summary, rows).encode())
    for name in summary["classes_dry"]:
        progress.say(f"calibrate: class '{name}' ran dry at {settings.pool_limit:g} images drawn for one kept")
    outputs = [METADATA, SHEET, CARD, *(row.file_name for row in rows)]
    summary["images_per_second"] = round(pool.fresh / draw_seconds, 2) if pool.fresh else None
    return StageResult([f"{FOLDER}/{name}" for name in outputs], summary)


def _draw(pool: Pool, book: PromptBook, labels: Sequence[int], first: int, progress: Progress) -> list[Drawn]:
    orders = [Order(first + place, book.prompt(first + place, label)) for place, label in enumerate(labels)]
    return list(progress.track(pool.draw(orders), len(orders), "drawing images"))


def _score(
    pool: Pool, drawn: Sequence[Drawn], model: LoadedModel, config: BuildConfig, progress: Progress
) -> list[_Scored]:
    usable = [item for item in drawn if item.rejected is None]
    paths = [pool.path(item.order.number) for item in usable]
    stream = score(model, paths, config.calibrate.energy_temperature, config.device)
    scores = dict(
        zip((item.order.number for item in usable), progress.track(stream, len(paths), "scoring images"), strict=True)
    )
    return [_scored(item, scores.get(item.order.number)) for item in drawn]


def _scored(item: Drawn, scores: Scores | None) -> _Scored:
    # The selection sees the rounded numbers that the metadata states: it can be redone from the file.
    exact = scores.rounded() if scores else None
    energy, misfit = (exact.energy, exact.misfit) if exact else (None, None)
    number, prompt = item.order.number, item.order.prompt
    return _Scored(item, exact, Candidate(number, prompt.label, energy, misfit, item.rejected))


def _rows(scored: Sequence[_Scored], reasons: Sequence[str], model: LoadedModel) -> list[Row]:
    names = class_names(model)
    rows = []
    for item, reason in zip(scored, reasons, strict=True):
        prompt = item.drawn.order.prompt
        rows.append(
            Row(
                file_name=f"{IMAGES}/{item.drawn.order.number:06d}.png",
                label=prompt.label,
                class_name=names[prompt.label],
                second_class=None if prompt.second is None else names[prompt.second],
                prompt=prompt.text,
                seed=item.drawn.seed,
                energy=item.scores.energy if item.scores else None,
                bn_sensitivity=item.scores.bn_sensitivity if item.scores else None,
                patch_entropy=item.scores.patch_entropy if item.scores else None,
                kept=reason == KEPT,
                reason=reason,
            )
        )
    return rows


def _none_kept(reasons: Sequence[str]) -> str:
    reason, count = Counter(reasons).most_common(1)[0]
    return (
        f"no image of {len(reasons)} drawn can be kept, {count} of them because: {reason};"
        " look at calibration/images, and try another --generator, --guidance or --steps"
    )
