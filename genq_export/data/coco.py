"""Images with boxes in COCO's form: a folder of images, and one JSON file of `images`, `annotations`, `categories`.

The file lies at the top of the folder or in its `annotations/`. It is read as data, every number checked; names in it
stand for files in the folder and for nothing else.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.paths import RelativeName
from genq_export.data.account import Account, Skipped, counted, listed, shown
from genq_export.data.classifier import Classifier
from genq_export.data.decode import opened_image
from genq_export.data.evaluation import EvaluationSet
from genq_export.data.labels import FIRST_INDEX, LabelColumn, Matching, by_index, match
from genq_export.data.placing import Placing, placing_of
from genq_export.data.raw import Reading
from genq_export.data.truth import Boxes
from genq_export.data.walk import Walk, walk

_LARGEST = 256 << 20  # bytes; COCO's own file for 5,000 images has 20 MB
_IN = "annotations"
_OVER = 2.0  # pixels by which a box may reach over its image's edge, as people's rounding has it
_LEAST = 1.0  # pixels a side of a box that the network still sees

_Id = Annotated[int, Field(ge=-(2**62), le=2**62)]
_Side = Annotated[int, Field(ge=1, le=2**20)]
_Length = Annotated[float, Field(ge=-(2.0**20), le=2.0**20, allow_inf_nan=False)]


class _Row(BaseModel):
    """What is not asked for, such as licences and outlines, is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _ImageRow(_Row):
    id: _Id
    file_name: RelativeName
    width: _Side | None = None
    height: _Side | None = None


class _Annotation(_Row):
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Length, _Length, _Length, _Length]  # left, top, width, height
    iscrowd: Literal[0, 1] = 0


class _Category(_Row):
    id: _Id
    name: Annotated[str, Field(min_length=1, max_length=200)]


class _File(_Row):
    images: tuple[_ImageRow, ...] = Field(min_length=1, max_length=5_000_000)
    annotations: tuple[_Annotation, ...] = Field(min_length=1, max_length=50_000_000)
    categories: tuple[_Category, ...] = Field(min_length=1, max_length=1_000_000)


def annotation_file(source: Path) -> Path | None:
    """The file of boxes of a folder; None where there is no JSON file.

    Raises:
        UserError: where there are several.
    """
    if not source.is_dir():
        return None
    found = sorted(path for folder in (source, source / _IN) if folder.is_dir() for path in folder.glob("*.json"))
    if len(found) > 1:
        raise UserError(f"{source} has several files of annotations ({listed(path.name for path in found)}): leave one")
    return found[0] if found else None


def check_boxes(source: Path, file: Path) -> None:
    """Look whether a file of annotations is one, and belongs to the images of a folder.

    Raises:
        UserError: where not.
    """
    content = _content(file)
    images = _images(content, walk(source), file)
    _check_annotations(content, file)
    for row, path in zip(content.images, images, strict=True):
        _size(row, path)


def read_boxes(source: Path, file: Path, network: Classifier, reading: Reading) -> EvaluationSet:
    """Read the images that a file lists, and their boxes in the network's input.

    Args:
        source: the folder of images.
        file: of annotations.
        network: its classes are what the categories mean, its preprocessing decides where boxes come to lie.
        reading: what the user says of it.

    Raises:
        UserError: where the file is no such file, or does not fit the images or the classes.
    """
    content, walked = _content(file), walk(source)
    images = _images(content, walked, file)
    _check_annotations(content, file)
    matching = _classes(content, network, reading, file)
    truths, lost = _truths(content, images, matching, network)
    notes = [f"{counted(lost, 'box')} lie where the network does not look"] if lost else []
    account = Account(
        layout=f"images with the annotations {file.name}",
        images=len(images),
        labels=f"with {counted(sum(len(truth.labels) for truth in truths), 'box')} ({matching.rule})",
        classes=len({int(label) for truth in truths for label in truth.labels}),
        skipped=(*walked.skipped, *_unlisted(walked, images)),
        notes=(*matching.notes, *notes),
    )
    return EvaluationSet(str(source), images, None, account, truths)


def _content(file: Path) -> _File:
    try:
        if file.stat().st_size > _LARGEST:
            raise UserError(
                f"{file} is larger than {_LARGEST >> 20} MiB: give the annotations of a few thousand images"
            )
        return _File.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(
            f"{file} holds no boxes as COCO has them ({damaged_field(error)}): it takes the lists images"
            " (id, file_name), annotations (image_id, category_id, bbox) and categories (id, name)"
        ) from None


def _images(content: _File, walked: Walk, file: Path) -> list[Path]:
    """The file of every image that is listed, in that order."""
    twice = [key for key, count in Counter(row.id for row in content.images).items() if count > 1]
    if twice:
        raise UserError(f"{file} lists the image id {twice[0]} twice: give every image one id of its own")
    by_tail: dict[str, list[Path]] = {}
    for path in walked.images:
        parts = path.relative_to(walked.root).parts
        for start in range(len(parts)):
            by_tail.setdefault("/".join(parts[start:]), []).append(path)
    missing = [row.file_name for row in content.images if row.file_name not in by_tail]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(content.images)} images that {file.name} lists are not in {walked.root}, the first"
            f" is '{shown(missing[0])}': give the folder of these images, or their annotations alone"
        )
    several = next((row.file_name for row in content.images if len(by_tail[row.file_name]) > 1), None)
    if several is not None:
        raise UserError(f"{walked.root} has several images '{shown(several)}', and {file.name} does not say which")
    return [by_tail[row.file_name][0] for row in content.images]


def _check_annotations(content: _File, file: Path) -> None:
    """Every box is of a listed image and category, and lies in its image."""
    images, categories = {row.id: row for row in content.images}, {row.id for row in content.categories}
    for number, box in enumerate(content.annotations):
        where = f"annotation {number} of {file}"
        if box.image_id not in images:
            raise UserError(f"{where} is of image {box.image_id}, which it does not list")
        if box.category_id not in categories:
            raise UserError(f"{where} is of category {box.category_id}, which it does not list")
        left, top, width, height = box.bbox
        image = images[box.image_id]
        right, bottom = (image.width or np.inf) + _OVER, (image.height or np.inf) + _OVER
        if min(width, height) < 0 or min(left, top) < -_OVER or left + width > right or top + height > bottom:
            raise UserError(
                f"{where} has the box {list(box.bbox)}, which is not left, top, width and height in its image of"
                f" {image.width} x {image.height} pixels"
            )


def _classes(content: _File, network: Classifier, reading: Reading, file: Path) -> Matching:
    """The class of each category's name, or of its number where the network has no names."""
    by_number = reading.labels is not None or network.class_names is None
    used = {box.category_id for box in content.annotations}
    chosen = [row for row in content.categories if not by_number or row.id in used]
    column = LabelColumn.of("by category", [str(row.id) if by_number else row.name for row in chosen])
    if reading.labels is not None:
        return by_index(column, network, FIRST_INDEX[reading.labels], file)
    return match(column, network, None, file)


def _truths(content: _File, images: Sequence[Path], matching: Matching, network: Classifier) -> tuple[list[Boxes], int]:
    """Boxes of every image in the network's input, and how many it does not see."""
    classes = {row.id: matching.index.get(row.name, matching.index.get(str(row.id), -1)) for row in content.categories}
    of_image: dict[int, list[_Annotation]] = {row.id: [] for row in content.images}
    for box in content.annotations:
        of_image[box.image_id].append(box)
    placings: dict[tuple[int, int], Placing] = {}
    truths, lost = list[Boxes](), 0
    for row, path in zip(content.images, images, strict=True):
        size = _size(row, path)
        if size not in placings:
            placings[size] = placing_of(network.transform(), *size, network.name)
        boxes = of_image[row.id]
        given = np.array([box.bbox for box in boxes], np.float64).reshape(-1, 4)
        corners = placings[size].boxes(np.concatenate((given[:, :2], given[:, :2] + given[:, 2:]), 1))
        seen = ((corners[:, 2:] - corners[:, :2]) >= _LEAST).all(1)
        lost += int((~seen).sum())
        labels = np.array([classes[box.category_id] for box in boxes], np.int64)
        crowd = np.array([box.iscrowd for box in boxes], np.bool_)
        truths.append(Boxes(corners[seen], labels[seen], crowd[seen]))
    return truths, lost


def _size(row: _ImageRow, path: Path) -> tuple[int, int]:
    """Width and height of an image, which are those that its annotations were made for."""
    with opened_image(path, str(path)) as image:
        size = image.size
    noted = (row.width or size[0], row.height or size[1])
    if noted != size:
        raise UserError(
            f"{path} has {size[0]} x {size[1]} pixels, and its boxes are of one of {noted[0]} x {noted[1]}: give the"
            " images that were annotated"
        )
    return size


def _unlisted(walked: Walk, images: Sequence[Path]) -> list[Skipped]:
    listed_ones = set(images)
    return [
        Skipped(shown(path.relative_to(walked.root)), "not in the annotations")
        for path in walked.images
        if path not in listed_ones
    ]
