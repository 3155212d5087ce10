"""The calibrate stage: draw a pool, score it, keep the best of each class, write the set."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from calibrate.card import dataset_card
from calibrate.collect import collect, judged_row
from calibrate.contact_sheet import write_contact_sheet
from calibrate.dataset import METADATA, Row, write_rows
from calibrate.pool import Pool
from calibrate.preflight import identity, problems
from calibrate.reference_images import RealImages, merge, read_real, real_rows, write_real
from calibrate.scoring import score
from calibrate.selection import quotas
from calibrate.sources.open import STYLE, class_names, drawn_classes, filters, open_source
from calibrate.summary import summarise
from genq_export.config.build import BuildConfig
from genq_export.core.distributed import join_ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace, write_atomic
from genq_export.models.loaded import LoadedModel

__all__ = ["identity", "problems", "run"]

FOLDER, IMAGES, SHEET, CARD = "calibration", "images", "contact_sheet.png", "README.md"


def run(workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress) -> StageResult:
    """Make the calibration set in `calibration/` of the workspace, going on with what an earlier run left there.

    Started by `accelerate launch`, every process calls this with the same arguments and draws its share; all but the
    main one (`genq_export.core.distributed`) hand back an empty result.

    Raises UserError where the generator cannot be loaded, the classes have no names, or no image can be kept.
    """
    ranks = join_ranks(config.device)
    settings = filters(config)
    folder = workspace.path(FOLDER)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    real = read_real(model, settings.real) if settings.real else None
    if not ranks.is_main:
        ranks.wait()  # until the main process has learned the style token
    source, book = open_source(config, model, real, folder, ranks, progress)
    if ranks.is_main:
        ranks.wait()
    pool = Pool(folder / IMAGES, source, config.seed, ranks)

    names = drawn_classes(config, model)
    joined, quota = RealImages((), ()), quotas(settings.images, len(names))
    if real is not None and settings.join_real:
        joined, quota = merge(real, settings.images, len(names))
    collection = collect(pool, book, model, quota, settings, config.device, progress)
    if not ranks.is_main:
        return StageResult([], {})
    pool.keep_only(len(collection.images))

    # Real images first: a stage that looks at some of the set looks at these.
    rows = _joined_rows(joined, folder, config, model)
    rows += [judged_row(pool, image, names) for image in collection.images]
    if not any(row.kept for row in rows):
        raise UserError(_none_kept(rows))
    write_rows(folder, rows)
    summary = summarise(config, model, source, quota, collection, rows)
    write_contact_sheet(folder / SHEET, folder, rows, f"Calibration set for {model.name}, drawn by {source.name}")
    write_atomic(folder / CARD, dataset_card(summary, rows).encode())
    for name in summary["classes_dry"]:
        progress.say(f"calibrate: class '{name}' ran dry at {settings.pool_limit:g} images drawn for one kept")
    style = [STYLE] if real is not None and (folder / STYLE).is_file() else []
    outputs = [METADATA, SHEET, CARD, *style, *(row.file_name for row in rows)]
    return StageResult([f"{FOLDER}/{name}" for name in outputs], summary)


def _joined_rows(joined: RealImages, folder: Path, config: BuildConfig, model: LoadedModel) -> list[Row]:
    files = write_real(joined, folder / IMAGES)
    scores = [found.rounded() for found in score(model, files, config.calibrate.energy_temperature, config.device)]
    return real_rows(joined, files, scores, class_names(model))


def _none_kept(rows: Sequence[Row]) -> str:
    reason, count = Counter(row.reason for row in rows).most_common(1)[0]
    return (
        f"no image of {len(rows)} drawn can be kept, {count} of them because: {reason};"
        " look at calibration/images, and try another --generator, --guidance or --steps"
    )
