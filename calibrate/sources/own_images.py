"""Images of the user's own: `--calibration FOLDER`, a tar file or a data set. Nothing is drawn, nothing is filtered."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from calibrate.sources.source import FinishedSet, network_classes
from calibrate.summary import CalibrateSummary, ClassCount
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.account import counted
from genq_export.data.calibration_set import KEPT, METADATA, Row, write_rows
from genq_export.data.decode import decode_bytes, png_bytes, stands_as_it_is
from genq_export.data.layout import used_digest
from genq_export.data.pictures import as_pictures
from genq_export.data.raw import Reading
from genq_export.data.reader import ImageSet, read_images
from genq_export.models import source as models
from genq_export.models.loaded import LoadedModel

_FOLDER, _IMAGES = "calibration", "images"


class OwnImages(FinishedSet):
    """At most `calibrate.images` of the images given, evenly spread over them, in their own files where these serve."""

    def identity(self, config: BuildConfig) -> object:
        """Of the images, whole, and of what decides which of them count and as what."""
        reading = _reading(config)
        classes = models.identity(config.model)
        return [used_digest(_given(config), reading), asdict(reading), config.calibrate.images, classes]

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """Are there images, and is it clear which?"""
        try:
            read_images(_given(config), None, _reading(config), decode=False)
        except UserError as error:
            return [f"{error} (--calibration takes a build folder, its {_FOLDER}/, or images)"]
        return []

    def take_over(
        self, workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress
    ) -> StageResult:
        """Store the images upright. A label that fits no class is left out, and this is said.

        Raises:
            UserError: where the source cannot be read, or an image in it.
        """
        found = _read(config, model, progress)
        chosen = evenly(len(found.images), config.calibrate.images)
        progress.say(f"calibrate: {_given(config)}: {found.account}; {counted(len(chosen), 'image')} used")
        pictures, rows = as_pictures(found.images), list[Row]()
        for number, place in enumerate(chosen):
            suffix, content = stored_form(pictures.content(place), pictures.name(place))
            name = f"{_IMAGES}/own_{number:06d}{suffix}"
            workspace.write_bytes(f"{_FOLDER}/{name}", content)
            rows.append(_row(name, None if found.labels is None else int(found.labels[place]), model))
        write_rows(workspace.path(_FOLDER), rows)
        summary = _summary(config, rows, found, model)
        return StageResult([f"{_FOLDER}/{name}" for name in (METADATA, *(row.file_name for row in rows))], summary)


OWN_IMAGES = OwnImages()


def evenly(images: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 ... images-1, evenly spread: folders are sorted by class."""
    return [int(place) for place in np.unique(np.linspace(0, images - 1, min(most, images)).round().astype(np.int64))]


def stored_form(content: bytes, name: str) -> tuple[str, bytes]:
    """Suffix and bytes of the file of an image in the set: as it is where every reader sees it upright, else a PNG.

    Raises:
        UserError: where it cannot be decoded.
    """
    pixels = decode_bytes(content, name, upright=True)
    suffix = stands_as_it_is(content)
    return (".png", png_bytes(pixels)) if suffix is None else (suffix, content)


def _given(config: BuildConfig) -> Path:
    assert config.calibrate.calibration_set is not None
    return config.calibrate.calibration_set


def _reading(config: BuildConfig) -> Reading:
    return Reading.of(config.verify, "calibration")


def _read(config: BuildConfig, model: LoadedModel, progress: Progress) -> ImageSet:
    """Images with their labels; without, where the labels are none of the network's: calibration needs none."""
    try:
        return read_images(_given(config), model, _reading(config), decode=False)
    except UserError as error:
        found = read_images(_given(config), None, _reading(config), decode=False)
        progress.say(f"calibrate: used without labels: {error}")
        return found


def _row(name: str, label: int | None, model: LoadedModel) -> Row:
    class_name = None if label is None else network_classes(model)[label]
    return Row(name, label, class_name, None, "", None, {}, True, KEPT)


def _summary(config: BuildConfig, rows: list[Row], found: ImageSet, model: LoadedModel) -> dict[str, object]:
    classes: tuple[ClassCount, ...] = ()
    if found.labels is not None:
        counts = np.bincount([row.label for row in rows if row.label is not None], minlength=model.classes)
        names = network_classes(model)
        classes = tuple(
            ClassCount(label=label, name=names[label], kept=int(count), drawn=int(count))
            for label, count in enumerate(counts)
        )
    summary = CalibrateSummary(generator=f"the source {_given(config)}", kept=len(rows), classes=classes)
    return summary.model_dump(mode="json")
