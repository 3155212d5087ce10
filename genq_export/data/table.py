"""A table beside images that names each file and its label: CSV, TSV, JSON lines, or Parquet."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genq_export.core.errors import UserError, reason_of
from genq_export.data.account import Skipped, listed, shown
from genq_export.data.decode import is_image_name
from genq_export.data.labels import LabelColumn
from genq_export.data.raw import LABEL_COLUMNS, Reading
from genq_export.data.text_file import read_text
from genq_export.data.walk import Walk

_FILE_COLUMNS = (
    "file_name", "filename", "file", "image", "img", "path", "filepath", "file_path", "image_path", "image_name",
    "image_id", "fname", "name", "id",
)  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows of text by column. labels: names of the columns that may be labels; file: the one of the images' files."""

    path: Path
    file: str
    rows: tuple[Mapping[str, str | None], ...]
    labels: tuple[str, ...]

    def columns(self) -> list[str]:
        """Names of all columns."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def read_table(path: Path, reading: Reading) -> Table | None:
    """Read a table of image files; None where it names none, and is something else.

    Raises:
        UserError: where it is damaged, or a column that was asked for is not in it.
    """
    rows = _rows(path)
    if not rows:
        return None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = _file_column(rows, columns, reading, path)
    if file is None:
        return None
    if reading.label_column is not None and reading.label_column not in columns:
        raise UserError(
            f"{path} has no column '{reading.label_column}' (its columns: {', '.join(columns)}): give one of them with"
            " --label-column"
        )
    labels = [name for name in columns if name.lower() in LABEL_COLUMNS and name != file]
    if not labels and len(columns) == 2 and all(name.startswith("column ") for name in columns):
        labels = [name for name in columns if name != file]
    chosen = [reading.label_column] if reading.label_column else labels
    return Table(path, file, tuple(rows), tuple(chosen))


def images_of(table: Table, walked: Walk) -> tuple[list[Path], list[LabelColumn], list[Skipped]]:
    """The images of a table in its order, its label columns, and the images that are not in it.

    Only files below the folder are found, whatever the table says: by their path, else by their name where one file
    alone has it, with or without its suffix.
    """
    find = _Finder(walked)
    found = [(row, find(row.get(table.file), table.path)) for row in table.rows]
    lost = [str(row.get(table.file)) for row, image in found if image is None]
    if lost:
        raise UserError(
            f"{len(lost)} of {len(found)} files that {table.path} names are not in {walked.root}: {listed(lost)};"
            " add them or remove their rows"
        )
    images = [image for _, image in found if image is not None]
    _check_once(images, table)
    columns = [
        LabelColumn.of(f"by column '{name}' of {table.path.name}", (row.get(name) for row, _ in found))
        for name in table.labels
    ]
    taken = set(images)
    left = [
        Skipped(shown(path.relative_to(walked.root)), f"not in {table.path.name}")
        for path in walked.images
        if path not in taken
    ]
    return images, columns, left


def _check_once(images: Sequence[Path], table: Table) -> None:
    seen: set[Path] = set()
    for image in images:
        if image in seen:
            raise UserError(f"{table.path} names {shown(image.name)} more than once: leave one row for each image")
        seen.add(image)


class _Finder:
    """Files of a folder by what a table calls them."""

    def __init__(self, walked: Walk) -> None:
        self._tables: list[dict[str, list[Path]]] = [{}, {}, {}]
        for path in walked.images:
            keys = (path.relative_to(walked.root).as_posix(), path.name, path.stem)
            for table, key in zip(self._tables, keys, strict=True):
                table.setdefault(key, []).append(path)

    def __call__(self, name: str | None, source: Path) -> Path | None:
        if not name:
            return None
        key = name.replace("\\", "/").removeprefix("./")
        for table in self._tables:
            hits = table.get(key, [])
            if len(hits) > 1:
                raise UserError(f"{source} names '{shown(name)}', and {len(hits)} images are called that: give paths")
            if hits:
                return hits[0]
            if table is self._tables[0]:
                key = key.rpartition("/")[2]
        return None


def _file_column(
    rows: Sequence[Mapping[str, str | None]], columns: Sequence[str], reading: Reading, path: Path
) -> str | None:
    """The column of file names: the one asked for, else by its name, and by what it holds where several have such."""
    if reading.image_column is not None:
        if reading.image_column in columns:
            return reading.image_column
        raise UserError(
            f"{path} has no column '{reading.image_column}' (its columns: {', '.join(columns)}): give one of them with"
            " --image-column"
        )
    holding = [name for name in columns if _holds_images(rows, name)]
    known = [name for word in _FILE_COLUMNS for name in columns if name.lower() == word]
    usual = [name for name in known if name.lower() in ("file_name", "filename") and name in holding]
    if usual:
        return usual[0]
    if len(holding) > 1:
        raise UserError(
            f"{path} has several columns of images ({', '.join(holding)}): give one of them with --image-column"
        )
    if holding:
        return holding[0]
    sure = [name for name in known if name.lower() not in ("name", "id")]
    with_labels = any(name.lower() in LABEL_COLUMNS for name in columns)
    return sure[0] if sure else known[0] if known and with_labels else None


def _holds_images(rows: Sequence[Mapping[str, str | None]], name: str) -> bool:
    values = [row.get(name) for row in rows]
    return all(value is not None and is_image_name(value) for value in values)


def _rows(path: Path) -> list[dict[str, str | None]]:
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path)
    text, _ = read_text(path, "table")
    return _json_rows(text, path) if path.suffix.lower() == ".jsonl" else _csv_rows(text, path)


def _parquet_rows(path: Path) -> list[dict[str, str | None]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"{path} is a Parquet file: pip install 'genq-export[datasets]'") from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise UserError(f"cannot read table {path}: {reason_of(error)}") from None
    return [
        {name: _text(value, name, number, path) for name, value in row.items()}
        for number, row in enumerate(rows, start=1)
    ]


def _csv_rows(text: str, path: Path) -> list[dict[str, str | None]]:
    lines = text.splitlines()
    head = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if "\t" in head else ";" if ";" in head and "," not in head else ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise UserError(f"cannot read table {path}: {error}") from None
    if not rows:
        return []
    if any(is_image_name(cell.strip()) for cell in rows[0]):
        names = [f"column {number}" for number in range(1, len(rows[0]) + 1)]
    else:
        names, rows = [cell.strip() for cell in rows[0]], rows[1:]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise UserError(f"row {number} of {path} has {len(row)} columns, the others have {len(names)}: mend it")
    if len(set(names)) != len(names):
        raise UserError(f"{path} has two columns of one name ({', '.join(names)}): rename one")
    return [{name: cell.strip() or None for name, cell in zip(names, row, strict=True)} for row in rows]


def _json_rows(text: str, path: Path) -> list[dict[str, str | None]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}, is no JSON object: mend or remove it")
        rows.append({str(name): _text(value, str(name), number, path) for name, value in row.items()})
    return rows


def _text(value: Any, name: str, number: int, path: Path) -> str | None:
    """A cell of a JSON table as text; a list counts only where it is no label."""
    if value is None or value == "":
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict):
        if name.lower() in LABEL_COLUMNS:
            raise UserError(f"{path}, line {number}, has several labels in '{name}': give each image one")
        return json.dumps(value, default=str)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
