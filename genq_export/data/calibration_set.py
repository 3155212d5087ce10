"""The calibration set on disk: Hugging Face's imagefolder convention, one row of `metadata.jsonl` for every image.

Free of torch, so that a stage can list images without loading anything.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from genq_export.config.registry import FILTERS
from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.paths import RelativeName, inside, reading
from genq_export.core.workspace import write_atomic

METADATA = "metadata.jsonl"
KEPT = "kept"


@dataclass(frozen=True)
class Row:
    """What is known of one image of the pool, kept or not.

    file_name: relative to the set's folder. label: class index; second_class: the other class of a mixup prompt.
    scores: by name of the filter, none where an image is unusable or the network has no such score. reason: "kept", or
    which filter dropped it. A reference image that joined the set has no prompt and no seed, and no label if it came
    without.
    """

    file_name: RelativeName
    label: int | None
    class_name: str | None
    second_class: str | None
    prompt: str
    seed: int | None
    scores: Mapping[str, float]
    kept: bool
    reason: str


_COLUMNS = tuple(field.name for field in fields(Row) if field.name != "scores")
_ROW = TypeAdapter(Row)


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write `metadata.jsonl` atomically."""
    lines = [json.dumps(_columns(row), ensure_ascii=False) for row in rows]
    write_atomic(folder / METADATA, ("\n".join(lines) + "\n").encode())


def read_rows(folder: Path) -> list[Row]:
    """Every row of a set. Raises UserError for a folder that is not one or whose metadata is damaged."""
    path = inside(folder, METADATA)
    with reading(path):
        if not path.is_file():
            raise UserError(f"{folder} is not a calibration set (no {METADATA} in it)")
        content = path.read_bytes()
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is not text in UTF-8") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}, is not a row of a calibration set"
        try:
            rows.append(_row(json.loads(line)))
        except ValidationError as error:
            raise UserError(f"{where} ({damaged_field(error)})") from None
        except KeyError as error:
            raise UserError(f"{where} (it has no {error})") from None
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise UserError(where) from None
    return rows


def is_calibration_set(folder: Path) -> bool:
    """Is the folder a set as `write_rows` leaves it? Other tables of images have this name, too."""
    try:
        with open(folder / METADATA, encoding="utf-8") as lines:
            return set(_COLUMNS) <= set(json.loads(lines.readline()))
    except (OSError, ValueError, TypeError):
        return False


def _columns(row: Row) -> dict[str, Any]:
    """A row as the file holds it: one column for every filter there is, in the place of the scores."""
    columns: dict[str, Any] = {}
    for field in fields(row):
        if field.name == "scores":
            columns |= {name: row.scores.get(name) for name in FILTERS}
        else:
            columns[field.name] = getattr(row, field.name)
    return columns


def _row(columns: dict[str, Any]) -> Row:
    """A row of a file; what is no column of ours is the score of some filter, which need not be known here."""
    own = {name: columns.pop(name) for name in _COLUMNS}
    scores = {name: value for name, value in columns.items() if value is not None}
    return _ROW.validate_json(json.dumps({**own, "scores": scores}), strict=True)


def kept_rows(folder: Path) -> list[Row]:
    """The rows of kept images, in number order.

    Raises:
        UserError: where there are none, one is missing, or a link stands on the way to it.
    """
    rows = [row for row in read_rows(folder) if row.kept]
    if not rows:
        raise UserError(f"calibration set {folder} holds no kept image")
    with reading(folder):
        missing = [row.file_name for row in rows if not inside(folder, row.file_name).is_file()]
    if missing:
        raise UserError(f"calibration set {folder} lacks {len(missing)} of its images, the first is {missing[0]}")
    return rows


def kept_images(folder: Path) -> list[Path]:
    """Files of the kept images, in number order. Raises UserError as `kept_rows`."""
    return [folder / row.file_name for row in kept_rows(folder)]


def kept_images_if_there(folder: Path) -> list[Path]:
    """Files of the kept images; none where the set did not travel with its build, or is not whole."""
    try:
        return kept_images(folder)
    except UserError:
        return []


def kept_labels(folder: Path) -> list[int | None]:
    """Class index of each of `kept_images`: what was prompted, not what a network sees. None: a reference image."""
    return [row.label for row in kept_rows(folder)]


def rounded(value: float) -> float:
    """Six significant digits: what the metadata states, and what the selection is made on."""
    return float(f"{value:.6g}")
