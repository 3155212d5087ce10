"""The few real images of the data-scarce regime: what a style token is learned from, and what joins the set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrate.image_file import write_image
from calibrate.prompts import STYLE_SUFFIX, PromptBook
from calibrate.scoring import Scores
from calibrate.selection import quotas
from genq_export.data.account import shown
from genq_export.data.calibration_set import KEPT, Row
from genq_export.data.pictures import Pictures, StoredPicture, upright_image
from genq_export.data.raw import Reading
from genq_export.data.reader import read_images
from genq_export.models.loaded import LoadedModel


@dataclass(frozen=True)
class ReferenceImages:
    """Images and their class index, None for all where the source says nothing of classes. account: in words."""

    images: tuple[Path | StoredPicture, ...]
    labels: tuple[int | None, ...]
    account: str = ""

    def __len__(self) -> int:
        return len(self.images)


def read_reference_images(model: LoadedModel, source: Path, reading: Reading) -> ReferenceImages:
    """The images of a source, with or without classes.

    Raises UserError for a source without images, with unreadable ones, or with classes the network does not have.
    """
    found = read_images(source, model, reading)
    images = found.images
    stored = (StoredPicture(images, place) for place in range(len(images))) if isinstance(images, Pictures) else images
    labels = (None,) * len(images) if found.labels is None else tuple(int(label) for label in found.labels)
    return ReferenceImages(tuple(stored), labels, str(found.account))


def prompts_for(references: ReferenceImages, book: PromptBook) -> list[str]:
    """What each reference image is called while the token is learned: "a photo of a {C} in the style of {S}"."""
    return [
        f"a photo{STYLE_SUFFIX}" if label is None else book.described(label, STYLE_SUFFIX)
        for label in references.labels
    ]


def merge(references: ReferenceImages, images: int, classes: int) -> tuple[ReferenceImages, list[int]]:
    """The reference images that join a set of `images`, and what is left to draw of each class.

    They take places of their class's quota, without class of all classes alike, and never more than there are.
    """
    quota = quotas(images, classes)
    if None in references.labels or classes == 1:
        chosen = ReferenceImages(references.images[:images], references.labels[:images])
        return chosen, quotas(images - len(chosen), classes)
    places: list[int] = []
    for place, label in enumerate(references.labels):
        assert label is not None
        if quota[label] > 0:
            quota[label] -= 1
            places.append(place)
    return ReferenceImages(
        tuple(references.images[p] for p in places), tuple(references.labels[p] for p in places)
    ), quota


def write_reference_images(references: ReferenceImages, folder: Path) -> list[Path]:
    """Store them beside the drawn images, lossless, as `real_000000.png` and so on. Returns the files."""
    files = [folder / f"real_{place:06d}.png" for place in range(len(references))]
    for source, target in zip(references.images, files, strict=True):
        write_image(target, np.asarray(upright_image(source)), {"real": shown(source.name)})
    return files


def reference_rows(
    references: ReferenceImages, files: Sequence[Path], scores: Sequence[Scores], names: Sequence[str]
) -> list[Row]:
    """Their rows: kept, without prompt and seed, scored but not filtered."""
    return [
        Row(
            file_name=f"{file.parent.name}/{file.name}",
            label=label,
            class_name=None if label is None else names[label],
            second_class=None,
            prompt="",
            seed=None,
            scores=of_image,
            kept=True,
            reason=KEPT,
        )
        for file, label, of_image in zip(files, references.labels, scores, strict=True)
    ]
