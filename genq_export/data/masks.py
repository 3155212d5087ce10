"""Images with masks: `images/` and `masks/` in one folder, a mask for every image under the same name.

A mask is a PNG (or another lossless file) of one channel, grey or with a palette: each pixel is the number of its
class, 255 says nothing of it. A `classes.txt` in the folder tells what the numbers stand for; else they are the
network's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import UserError
from genq_export.data.account import Account, counted, shown
from genq_export.data.class_names import ClassNames, read_listing
from genq_export.data.classifier import Classifier
from genq_export.data.decode import opened_image
from genq_export.data.evaluation import EvaluationSet
from genq_export.data.labels import FIRST_INDEX, LabelColumn, match
from genq_export.data.placing import Placing, placing_of
from genq_export.data.raw import LISTING, Reading
from genq_export.data.truth import UNJUDGED, Mask
from genq_export.data.walk import walk

IMAGES, MASKS = "images", "masks"
_ONE_CHANNEL = ("L", "P", "1")
_LOSSLESS = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm")


def has_masks(source: Path) -> bool:
    """Is this a folder of images and masks?"""
    return (source / IMAGES).is_dir() and (source / MASKS).is_dir()


def check_masks(source: Path) -> None:
    """Look whether images and masks of a folder belong together.

    Raises:
        UserError: where not.
    """
    for _ in _mask_files(_pairs(walk(source / IMAGES).images, walk(source / MASKS).images, source)):
        pass


def read_masks(source: Path, network: Classifier, reading: Reading) -> EvaluationSet:
    """Read images, and their masks in the network's input.

    Args:
        source: the folder.
        network: its classes are what numbers mean, its preprocessing decides where pixels come to lie.
        reading: what the user says of it: `index1` where numbers count from 1, and 0 says nothing.

    Raises:
        UserError: where images and masks do not belong together, or masks hold what is no class.
    """
    walked = walk(source / IMAGES)
    pairs = _pairs(walked.images, walk(source / MASKS).images, source)
    meaning, rule = _meaning(source, network, reading)
    placings: dict[tuple[int, int], Placing] = {}
    truths = list[Mask]()
    for file in _mask_files(pairs):
        if file.size not in placings:
            placings[file.size] = placing_of(network.transform(), *file.size, network.name)
        truths.append(placings[file.size].mask(_as_classes(file, meaning, network)))
    seen = np.unique(np.concatenate([np.unique(truth) for truth in truths]))
    account = Account(
        layout="a folder of images and masks",
        images=len(pairs),
        labels=f"by masks ({rule})",
        classes=int((seen != UNJUDGED).sum()),
        skipped=walked.skipped,
        notes=() if (seen != UNJUDGED).any() else ("the masks say nothing of any pixel",),
    )
    return EvaluationSet(str(source), [image for image, _ in pairs], None, account, truths)


@dataclass(frozen=True)
class _MaskFile:
    """Numbers [h, w], width and height, and the colours that the file gives numbers, b"" where it gives none."""

    path: Path
    numbers: NDArray[np.uint8]
    size: tuple[int, int]
    palette: bytes


def _mask_files(pairs: Sequence[tuple[Path, Path]]) -> Iterator[_MaskFile]:
    """Every mask, each of its image's size, all with one palette."""
    palette: bytes | None = None
    for image, path in pairs:
        size, file = _size(image), _read(path)
        if file.size != size:
            raise UserError(
                f"{path} has {file.size[0]} x {file.size[1]} pixels, and its image {image.name} has {size[0]} x"
                f" {size[1]}: give the masks of these images"
            )
        palette = file.palette if palette is None else palette
        if file.palette != palette:
            raise UserError(f"{path} has another palette than the masks before it: save all with one palette, or grey")
        yield file


def _pairs(images: Sequence[Path], masks: Sequence[Path], source: Path) -> list[tuple[Path, Path]]:
    """Each image with the mask of its name."""
    if not images:
        raise UserError(f"no images in {source / IMAGES}")
    lossy = next((path for path in masks if path.suffix.lower() not in _LOSSLESS), None)
    if lossy is not None:
        raise UserError(f"{lossy} is of a kind that changes numbers when it is saved: give masks as PNG")
    of_name = {_name(path, source / MASKS): path for path in masks}
    names = [_name(path, source / IMAGES) for path in images]
    if len(of_name) < len(masks) or len(set(names)) < len(names):
        raise UserError(f"{source} has several files of one name but for the suffix: leave one image and one mask each")
    missing = [name for name in names if name not in of_name]
    if missing or len(of_name) > len(names):
        odd = missing[0] if missing else next(name for name in of_name if name not in set(names))
        lacks = "mask" if missing else "image"
        raise UserError(
            f"{source} has {counted(len(names), 'image')} and {counted(len(of_name), 'mask')}, and no {lacks} for"
            f" '{shown(odd)}': give one mask for each image, under the same name"
        )
    return [(image, of_name[name]) for image, name in zip(images, names, strict=True)]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _size(path: Path) -> tuple[int, int]:
    with opened_image(path, str(path)) as image:
        return image.size


def _read(path: Path) -> _MaskFile:
    with opened_image(path, str(path)) as image:
        if image.mode not in _ONE_CHANNEL:
            raise UserError(
                f"{path} is in colours (mode {image.mode}): save masks as grey or palette PNG in which each pixel is"
                " the number of its class"
            )
        palette = bytes(image.getpalette() or b"") if image.mode == "P" else b""
        return _MaskFile(path, np.asarray(image).astype(np.uint8), image.size, palette)


def _meaning(source: Path, network: Classifier, reading: Reading) -> tuple[NDArray[np.int64], str]:
    """The class of every number of a mask, -1 where it has none, and the rule in words."""
    table = np.full(UNJUDGED + 1, -1, np.int64)
    listing = source / LISTING
    if listing.is_file():
        names = _listed(read_listing(listing), network)
        numbers = [number for number in names if number < UNJUDGED]
        matching = match(LabelColumn.of("by masks", names.values()), network, None, source)
        table[numbers] = [matching.index[names[number]] for number in numbers]
        rule = f"named by {LISTING}, {matching.rule}"
    else:
        first = FIRST_INDEX.get(reading.labels or "index0", 0)
        count = min(network.classes, UNJUDGED - first)
        table[first : first + count] = np.arange(count)
        table[:first] = UNJUDGED
        rule = f"numbers count from {first}" if reading.labels else f"the numbers 0 to {network.classes - 1}"
    table[UNJUDGED] = UNJUDGED
    return table, rule


def _listed(listing: ClassNames, network: Classifier) -> dict[int, str]:
    """Names by number; lines without numbers count from 0."""
    names = listing.listing()
    if not all(key.isdecimal() for key in names):
        raise UserError(f"{LISTING} of masks takes a name a line, or a number and a name: masks of {network.name} hold"
                        " numbers")  # fmt: skip
    return {int(key): name for key, name in names.items()}


def _as_classes(file: _MaskFile, meaning: NDArray[np.int64], network: Classifier) -> NDArray[np.uint8]:
    classes = meaning[file.numbers]
    if (classes < 0).any():
        strange = int(file.numbers[classes < 0].min())
        raise UserError(
            f"{file.path} holds the number {strange}, which is none of the {network.classes} classes of {network.name}"
            f" (255 says nothing of a pixel): save masks whose numbers are classes, or name them in {LISTING}"
        )
    return classes.astype(np.uint8)
