"""Hugging Face data sets on disk: what `save_to_disk` wrote, Parquet files, and image folders with splits or metadata.

Read through the `datasets` package, which runs no code of a data set. Pictures are decoded here, from the bytes in the
set or from local files: an address in it is not fetched.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from genq_export.core.errors import UserError, reason_of
from genq_export.data.classifier import Classes
from genq_export.data.decode import decode_image, read_image
from genq_export.data.labels import check_labels, class_numbers

_SAVED = ("state.json", "dataset_dict.json")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# The split to judge by, best first; a set of a single split is taken whatever its name.
_SPLITS = ("test", "validation", "val")


def is_dataset(source: Path) -> bool:
    """Is the folder one that `datasets` reads, rather than images with a subfolder a class?"""
    if not source.is_dir():
        return False
    if any((source / name).is_file() for name in (*_SAVED, *_METADATA)):
        return True
    return any((source / name).is_dir() for name in _SPLITS) or any(source.rglob("*.parquet"))


def read_dataset(source: Path, network: Classes) -> tuple["DatasetImages", np.ndarray | None]:
    """Pictures and labels of the test (or validation, or only) split, in its order.

    Raises UserError where `datasets` is not installed or cannot read the folder, where no split is meant for judging,
    where there is no picture column, and for classes the network has not.
    """
    table = _split(_load(source), source)
    pictures = next((name for name, kind in table.features.items() if type(kind).__name__ == "Image"), None)
    if pictures is None:
        columns = ", ".join(table.column_names)
        raise UserError(f"{source} has no column of images (its columns: {columns})")
    if not len(table):
        raise UserError(f"no images in {source}")
    images = DatasetImages(table, pictures, source)
    return images, check_labels(_labels(table, network, source), network, source)


class DatasetImages(Sequence[Image.Image]):
    """The picture column of a data set, decoded when asked for."""

    def __init__(self, table: Any, column: str, source: Path) -> None:
        import datasets

        self._table = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        self._column, self._source = column, source

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        """One RGB picture, or a list of them. Raises UserError for one that is missing or cannot be decoded."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        stored = self._table[int(index)][self._column] or {}
        if stored.get("bytes") is not None:
            return decode_image(io.BytesIO(stored["bytes"]), f"{index} in {self._source}")
        path = Path(str(stored.get("path")))
        if not path.is_file():
            raise UserError(f"image {index} of {self._source} is not in the data set and {path} is not a file here")
        return read_image(path)


def _load(source: Path) -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(f"{source} is a Hugging Face data set: pip install datasets") from None
    datasets.disable_progress_bars()
    try:
        if any((source / name).is_file() for name in _SAVED):
            return datasets.load_from_disk(str(source))
        return datasets.load_dataset(str(source.resolve()))
    except Exception as error:  # the package passes on whatever its readers raise
        raise UserError(f"cannot read the data set {source}: {reason_of(error)}") from None


def _split(loaded: Any, source: Path) -> Any:
    if not isinstance(loaded, Mapping):
        return loaded
    name = next((name for name in _SPLITS if name in loaded), None)
    if name is None and len(loaded) == 1:
        name = next(iter(loaded))
    if name is None:
        raise UserError(f"{source} has the splits {', '.join(loaded)}: none is called {' or '.join(_SPLITS[:2])}")
    return loaded[name]


def _labels(table: Any, network: Classes, source: Path) -> list[int | None]:
    """From the column of class labels, else from one called `label`; None for an image that has none (or is −1)."""
    kinds = {name: type(kind).__name__ for name, kind in table.features.items()}
    column = next((name for name, kind in kinds.items() if kind == "ClassLabel"), "label" if "label" in kinds else None)
    if column is None:
        return [None] * len(table)
    stored = table[column][:]
    if kinds[column] == "ClassLabel":
        names = list(table.features[column].names)
        numbers = class_numbers(names, network, source)
        stored = [names[label] if label is not None and label >= 0 else None for label in stored]
    elif all(label is None or isinstance(label, str) for label in stored):
        numbers = class_numbers(sorted({label for label in stored if label is not None}), network, source)
    else:
        return [None if label is None or label == -1 else int(label) for label in stored]
    return [None if label is None else numbers[label] for label in stored]
