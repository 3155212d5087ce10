"""Make a calibration set: draw a pool, score it, keep the best of each class, write the set."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from calibrate.card import dataset_card
from calibrate.collect import collect, generated_row
from calibrate.contact_sheet import write_contact_sheet
from calibrate.own_files import FOLDER, IMAGES, OwnFiles, refuse_foreign_images
from calibrate.pool import Pool
from calibrate.preflight import identity, problems
from calibrate.reference_images import (
    ReferenceImages,
    merge,
    read_reference_images,
    reference_rows,
    write_reference_images,
)
from calibrate.scoring import score
from calibrate.selection import SelectionRules, quotas, selection_rules
from calibrate.sources.source import FinishedSet, Opening, OpenSource, Source, network_classes, source_for
from calibrate.summarise import summarise
from calibrate.summary import CalibrateSummary
from genq_export.config.build import BuildConfig
from genq_export.core.distributed import join_ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace, write_atomic
from genq_export.data.calibration_set import METADATA, Row, write_rows
from genq_export.data.raw import Reading
from genq_export.models.loaded import LoadedModel

__all__ = ["identity", "problems", "run"]

SHEET, CARD = "contact_sheet.png", "README.md"


def run(workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress) -> StageResult:
    """Make the calibration set in `calibration/` of the workspace, going on with what an earlier run left there.

    Started by `accelerate launch`, every process calls this with the same arguments and draws its share; all but the
    main one (`genq_export.core.distributed`) hand back an empty result.

    Raises:
        UserError: where the generator cannot be loaded, the classes have no names, no image can be kept, or images lie
            there that are not ours.
    """
    config = config.on_chosen_device()
    ranks = join_ranks(config.device)
    if ranks.is_main:
        refuse_foreign_images(workspace)
    own = OwnFiles.of(workspace)
    source = source_for(config)
    if isinstance(source, FinishedSet):
        return source.take_over(workspace, config, model, progress) if ranks.is_main else StageResult([], {})
    settings = config.calibrate
    references = None
    if settings.real is not None:
        references = read_reference_images(model, settings.real, Reading.of(config.verify, "real"))
        progress.say(f"calibrate: {settings.real}: {references.account}")
    folder = workspace.path(FOLDER)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    opened = _opened(source, Opening(config, model, folder, references, ranks, progress))
    pool = Pool(folder / IMAGES, opened.images, config.seed, ranks)

    names = source.class_names(model)
    joined, quota = ReferenceImages((), ()), quotas(settings.images, len(names))
    if references is not None and settings.join_real:
        joined, quota = merge(references, settings.images, len(names))
    rules = selection_rules(model, settings, source.filtered)
    if source.filtered:
        for line in _missing_filters(model, rules):
            progress.say(line)
    collection = collect(pool, opened.prompts, model, quota, rules, config, progress)
    if not ranks.is_main:
        return StageResult([], {})
    pool.keep_only(len(collection.images), own.hold)

    # Reference images first: a stage that looks at some of the set looks at these.
    rows = _joined_rows(joined, folder, config, model)
    rows += [generated_row(pool, image, names) for image in collection.images]
    if not any(row.kept for row in rows):
        raise UserError(_none_kept(rows))
    summary = summarise(config, model, opened.images, names, quota, rules, collection, rows)
    _write_set(folder, rows, summary)
    for name in summary.classes_dry:
        progress.say(f"calibrate: class '{name}' ran dry at {settings.pool_limit:g} images drawn for one kept")
    outputs = [METADATA, SHEET, CARD, *opened.files, *(row.file_name for row in rows)]
    return StageResult([f"{FOLDER}/{name}" for name in outputs], summary.model_dump(mode="json"))


def _missing_filters(model: LoadedModel, rules: SelectionRules) -> list[str]:
    """What cannot be told of images for this network."""
    roles, said = {rule.filter.role for rule in rules.filters}, []
    if "energy" not in roles:
        why = "gives probabilities, whose logits are not seen" if model.hides_logits else "tells no classes apart"
        said.append(f"calibrate: {model.name} {why}: the energy filter is off")
    if "distribution" not in roles:
        left = "images are filtered by energy alone" if roles else "no filter is left, every image is kept"
        said.append(f"calibrate: {model.name} has neither BatchNorm statistics nor attention that is known: {left}")
    return said


def _opened(source: Source, opening: Opening) -> OpenSource:
    """Open the source, in the main process first: it writes what the others read, a style token."""
    if not opening.ranks.is_main:
        opening.ranks.wait()
    opened = source.open(opening)
    if opening.ranks.is_main:
        opening.ranks.wait()
    return opened


def _joined_rows(joined: ReferenceImages, folder: Path, config: BuildConfig, model: LoadedModel) -> list[Row]:
    files = write_reference_images(joined, folder / IMAGES)
    scores = list(score(model, files, config.calibrate, config.device))
    return reference_rows(joined, files, scores, network_classes(model))


def _write_set(folder: Path, rows: Sequence[Row], summary: CalibrateSummary) -> None:
    """The files of a set beside its images: metadata, contact sheet and card."""
    write_rows(folder, rows)
    title = f"Calibration set for {summary.model}, drawn by {summary.generator}"
    write_contact_sheet(folder / SHEET, folder, rows, title)
    write_atomic(folder / CARD, dataset_card(summary, rows).encode())


def _none_kept(rows: Sequence[Row]) -> str:
    reason, count = Counter(row.reason for row in rows).most_common(1)[0]
    return (
        f"no image of {len(rows)} drawn can be kept, {count} of them because: {reason};"
        " look at calibration/images, and try another --generator, --guidance or --steps"
    )
