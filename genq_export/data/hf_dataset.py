"""Hugging Face data sets on disk: what `save_to_disk` wrote, and Parquet files.

Read through the `datasets` package, which runs no code of a data set. Pictures are decoded here, from the bytes in the
set or from local files: an address in it is not fetched.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genq_export.core.errors import UserError, reason_of
from genq_export.data.labels import LabelColumn
from genq_export.data.pictures import Pictures
from genq_export.data.raw import LABEL_COLUMNS, Raw, Reading
from genq_export.data.splits import chosen_split

_SAVED = ("state.json", "dataset_dict.json")


def is_saved(source: Path) -> bool:
    """Did `save_to_disk` write the folder?"""
    return any((source / name).is_file() for name in _SAVED)


def read_dataset(source: Path, reading: Reading) -> Raw:
    """Pictures of the split that suits the use, in its order, and the columns that may be labels.

    Raises:
        UserError: where `datasets` is not installed or cannot read the folder, where no split suits, where there is no
            column of pictures or several.
    """
    table, split = _split(_load(source), source, reading)
    column = _picture_column(table, source, reading)
    if not len(table):
        raise UserError(f"no images in {source}")
    layout = "a Hugging Face data set" + (f", its split '{split}'" if split else "")
    columns = tuple(_columns(table, source, reading, column))
    return Raw(source, layout, DatasetImages(table, column, source), columns)


class DatasetImages(Pictures):
    """The picture column of a data set."""

    def __init__(self, table: Any, column: str, source: Path) -> None:
        import datasets

        table = table.select_columns([column])
        if type(table.features[column]).__name__ == "Image":
            table = table.cast_column(column, datasets.Image(decode=False))
        self._table, self._column, self._source = table, column, source

    def __len__(self) -> int:
        return len(self._table)

    def name(self, index: int) -> str:
        """Its number in the data set."""
        return f"{index} in {self._source}"

    def content(self, index: int) -> bytes:
        """The bytes in the data set, or of the local file that it names."""
        stored = self._table[int(index)][self._column]
        stored = stored if isinstance(stored, dict) else {"bytes": stored}
        if stored.get("bytes") is not None:
            return bytes(stored["bytes"])
        path = Path(str(stored.get("path")))
        if not path.is_file():
            raise UserError(f"image {index} of {self._source} is not in the data set and {path} is not a file here")
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read image {path}: {error.strerror}") from None


def _load(source: Path) -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(f"{source} is a Hugging Face data set: pip install datasets") from None
    datasets.disable_progress_bars()
    try:
        if is_saved(source):
            return datasets.load_from_disk(str(source))
        return datasets.load_dataset(str(source.resolve()))
    except Exception as error:  # the package passes on whatever its readers raise
        raise UserError(f"cannot read the data set {source}: {reason_of(error)}") from None


def _split(loaded: Any, source: Path, reading: Reading) -> tuple[Any, str | None]:
    if not isinstance(loaded, Mapping):
        return loaded, None
    name = next(iter(loaded)) if len(loaded) == 1 else chosen_split(list(loaded), reading.use)
    if name is None:
        raise UserError(f"{source} has the splits {', '.join(loaded)}: none is called test or validation")
    return loaded[name], name


def _picture_column(table: Any, source: Path, reading: Reading) -> str:
    found = [name for name, kind in table.features.items() if _holds_pictures(kind)]
    if reading.image_column is not None:
        if reading.image_column in found:
            return reading.image_column
        raise UserError(f"{source} has no column of images '{reading.image_column}' (it has {', '.join(found)})")
    if not found:
        raise UserError(f"{source} has no column of images (its columns: {', '.join(table.column_names)})")
    usual = [name for name in found if name.lower() in ("image", "img")]
    if len(found) > 1 and len(usual) != 1:
        raise UserError(f"{source} has several columns of images ({', '.join(found)}): give one with --image-column")
    return str((usual or found)[0])


def _holds_pictures(kind: Any) -> bool:
    """A column of images, of their bytes, or of bytes and paths as `datasets` stores them."""
    if isinstance(kind, Mapping):
        return {"bytes", "path"} <= set(kind)
    return type(kind).__name__ == "Image" or getattr(kind, "dtype", None) in ("binary", "large_binary")


def _columns(table: Any, source: Path, reading: Reading, pictures: str) -> Iterator[LabelColumn]:
    """Columns of class labels, and those of numbers or text that are called so."""
    kinds = {name: kind for name, kind in table.features.items() if name != pictures}
    wanted = reading.label_column
    if wanted is not None and wanted not in kinds:
        raise UserError(f"{source} has no column '{wanted}' (its columns: {', '.join(kinds)}): give --label-column one")
    for name, kind in kinds.items():
        is_class = type(kind).__name__ == "ClassLabel"
        if name != wanted if wanted is not None else not (is_class or name.lower() in LABEL_COLUMNS):
            continue
        origin = f"by column '{name}'"
        if is_class:
            yield _class_column(table[name][:], list(kind.names), origin, source)
        else:
            yield LabelColumn.of(origin, (_text(value, name, source) for value in table[name][:]))


def _class_column(stored: list[int | None], names: list[str], origin: str, source: Path) -> LabelColumn:
    """Numbers that the data set itself names."""
    if any(label is not None and label >= len(names) for label in stored):
        raise UserError(f"{source} has labels {origin} beyond its {len(names)} class names: mend the data set")
    numbers = tuple(None if label is None or label < 0 else label for label in stored)
    values = tuple(None if number is None else names[number] for number in numbers)
    return LabelColumn(origin, values, tuple(dict.fromkeys(names)), numbers)


def _text(value: Any, name: str, source: Path) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, int) and value == -1):
        return None
    if isinstance(value, list | dict):
        raise UserError(f"column '{name}' of {source} holds several labels: give each image one, or --label-column")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
