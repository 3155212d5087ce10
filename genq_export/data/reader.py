"""The one reader of images and labels, for `--eval`, `--real` and `--calibration`.

It says which layout it takes a source for, refuses what could be two, gives every image a class by name, and accounts
for every file. Free of torch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genq_export.core.errors import UserError
from genq_export.data.account import Account, shown
from genq_export.data.classifier import Classes
from genq_export.data.decode import check_ends, read_image
from genq_export.data.labels import FIRST_INDEX, LabelColumn, Matching, by_index, match
from genq_export.data.layout import find
from genq_export.data.pictures import Pictures, as_pictures
from genq_export.data.raw import Raw, Reading

_DECODED = 256  # images that are decoded where not all are: what is damaged within shows in no mark


@dataclass(frozen=True)
class ImageSet:
    """Images of a source, the class of each (int64 [N], None: without labels), and what became of every file."""

    images: Sequence[Path] | Pictures
    labels: np.ndarray | None
    account: Account


def read_images(source: Path, network: Classes | None, reading: Reading, decode: bool = True) -> ImageSet:
    """Read a source of images.

    Args:
        source: a folder of images (with a subfolder a class, with a table, or without labels), WebDataset shards, or a
            Hugging Face data set.
        network: its classes are what the labels mean; None, or one without classes: labels are not looked at.
        reading: what for, and what the user says of it.
        decode: every file is decoded to see that it can be; otherwise its beginning and its end are looked at, and
            some are decoded.

    Raises:
        UserError: where it cannot be read, could be two things, or has labels that fit no class.
    """
    raw = find(source, network, reading)
    _check(raw.images, raw.source, decode)
    known = network if network is not None and network.classes else None
    labels, said, notes = (None, None, ()) if known is None else _labels(raw, known, reading)
    account = Account(
        layout=raw.layout,
        images=len(raw.images),
        labels=said,
        classes=0 if labels is None else len(np.unique(labels)),
        skipped=raw.skipped,
        notes=(*raw.notes, *notes),
    )
    return ImageSet(raw.images, labels, account)


def _check(images: Sequence[Path] | Pictures, source: Path, decode: bool) -> None:
    """Raise UserError where one cannot be read.

    decode: All files are decoded. Otherwise, and where there are no files, how each begins and ends is looked at, and
    a few are decoded.
    """
    if not isinstance(images, Pictures) and decode:
        unreadable = list(_errors(lambda index: read_image(images[index]), range(len(images))))
    else:
        pictures = as_pictures(images)
        unreadable = list(_errors(lambda index: _look_at(pictures, index), range(len(pictures))))
        unreadable = unreadable or list(_errors(pictures.__getitem__, _spread(len(pictures))))
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(images)} images in {source} cannot be read, the first: {unreadable[0]}:"
            " remove or replace them"
        )


def _errors(look: Callable[[int], object], indices: Iterable[int]) -> Iterator[UserError]:
    for index in indices:
        try:
            look(index)
        except UserError as error:
            yield error


def _look_at(pictures: Pictures, index: int) -> None:
    with pictures.file(index) as file:
        check_ends(file, pictures.name(index))


def _spread(count: int) -> list[int]:
    """At most `_DECODED` numbers below `count`, evenly."""
    return sorted({index * count // _DECODED for index in range(_DECODED)}) if count else []


@dataclass(frozen=True)
class _Read:
    column: LabelColumn
    labels: np.ndarray
    matching: Matching


def _labels(raw: Raw, network: Classes, reading: Reading) -> tuple[np.ndarray | None, str | None, tuple[str, ...]]:
    """Labels, what is said of them, and notes. Of several columns those count that fit, and they must agree."""
    columns = [column for column in raw.columns if column.names]
    read, errors, captions = list[_Read](), list[UserError](), list[str]()
    for column in columns:
        try:
            read.append(_read(column, raw, network, reading))
        except UserError as error:
            if column.doubtful and (len(columns) > 1 or not _fits_in_part(column, raw, network, reading)):
                captions.append(f"what {column.origin.removeprefix('by ')} says is no class and counts for nothing")
            else:
                errors.append(error)
    if not read:
        if errors:
            raise errors[0]
        return None, None, tuple(captions)
    first = read[0]
    other = next((one for one in read[1:] if not np.array_equal(one.labels, first.labels)), None)
    if other is not None:
        raise UserError(_disagreement(first, other, raw))
    unfit = [column.origin for column in columns if column.origin not in {one.column.origin for one in read}]
    unused = [f"labels {origin} fit no class and do not count" for origin in unfit if len(columns) > 1]
    said = f"{first.column.origin} ({first.matching.rule})"
    return first.labels, said, (*first.matching.notes, *unused)


def _read(column: LabelColumn, raw: Raw, network: Classes, reading: Reading) -> _Read:
    if reading.labels is not None and column.numbers is not None:
        values = [None if number is None else str(number) for number in column.numbers]
        column = LabelColumn.of(column.origin, values)
    missing = [place for place, value in enumerate(column.values) if value is None]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(column.values)} images in {raw.source} have no label {column.origin}, the first is"
            f" {_name(raw, missing[0])}: label all of them, or none"
        )
    try:
        if reading.labels is not None:
            matching = by_index(column, network, FIRST_INDEX[reading.labels], raw.source)
        else:
            matching = match(column, network, raw.listing, raw.source)
    except UserError as error:
        inner = raw.inside if column.origin == "by folder" else None
        raise UserError(f"{error}, or give {inner}" if inner is not None else str(error)) from None
    labels = np.array([matching.index[value] for value in column.values if value is not None], dtype=np.int64)
    return _Read(column, labels, matching)


def _fits_in_part(column: LabelColumn, raw: Raw, network: Classes, reading: Reading) -> bool:
    """Is any of the names a class?"""
    for name in column.names:
        one = replace(column, names=(name,), values=(name,), numbers=None)
        try:
            _read(one, raw, network, reading)
        except UserError:
            continue
        return True
    return all(name.lstrip("-").isdecimal() for name in column.names)


def _disagreement(first: _Read, other: _Read, raw: Raw) -> str:
    place = int(np.flatnonzero(first.labels != other.labels)[0])
    one, two = first.column, other.column
    remedy = "give one with --label-column" if "column" in one.origin or "." in one.origin else "leave one of them"
    return (
        f"{raw.source} has labels {one.origin} and labels {two.origin}, and they disagree: {_name(raw, place)} is"
        f" '{one.values[place]}' and '{two.values[place]}'; {remedy}"
    )


def _name(raw: Raw, place: int) -> str:
    if isinstance(raw.images, Pictures):
        return shown(raw.images.name(place))
    return shown(raw.images[place])
