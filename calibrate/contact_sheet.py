"""One picture of a calibration set: for every class some images that were kept and some that were dropped."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from genq_export.core.errors import UserError
from genq_export.core.workspace import write_atomic
from genq_export.data.calibration_set import Row
from genq_export.data.decode import read_image

Item = TypeVar("Item")
KEPT_SHOWN, DROPPED_SHOWN, CLASSES_SHOWN = 12, 6, 24
_CELL, _GAP, _NAME, _MARGIN, _HEAD, _CAPTION = 72, 6, 132, 20, 92, 14
_SCORE = "energy"  # the one that every network has
_PAPER, _INK, _FAINT, _KEPT, _DROPPED = "#ffffff", "#1c2430", "#7b8794", "#1f8a5b", "#c2453d"


def write_contact_sheet(path: Path, folder: Path, rows: Sequence[Row], title: str) -> None:
    """Write the sheet as PNG: a line a class (at most 24, spread evenly), kept left, dropped right, energies below."""
    labels = _spread(sorted({row.label for row in rows}, key=_order), CLASSES_SHOWN)
    step = _CELL + _GAP
    divide = _MARGIN + _NAME + KEPT_SHOWN * step + 3 * _GAP
    width = divide + DROPPED_SHOWN * step + _MARGIN
    line = _CELL + _CAPTION + _GAP
    sheet = Image.new("RGB", (width, _HEAD + len(labels) * line + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _heading(pen, rows, title, divide, len(labels))
    for place, label in enumerate(labels):
        top = _HEAD + place * line
        members = [row for row in rows if row.label == label]
        kept = [row for row in members if row.kept]
        dropped = [row for row in members if not row.kept]
        name = _shortened(members[0].class_name or "unlabelled")
        pen.text((_MARGIN, top + _CELL // 2 - 14), name, _INK, font=_font(14))
        pen.text((_MARGIN, top + _CELL // 2 + 4), f"{len(kept)} of {len(members)}", _FAINT, font=_font(11))
        for column, row in enumerate(_spread(kept, KEPT_SHOWN)):
            _cell(sheet, pen, folder, row, (_MARGIN + _NAME + column * step, top))
        for column, row in enumerate(_spread(dropped, DROPPED_SHOWN)):
            _cell(sheet, pen, folder, row, (divide + column * step, top))
    pen.line([(divide - 2 * _GAP, _HEAD - 24), (divide - 2 * _GAP, sheet.height - _MARGIN)], "#d5dbe1", 1)
    buffer = io.BytesIO()
    sheet.save(buffer, format="png", optimize=True)
    write_atomic(path, buffer.getvalue())


def _heading(pen: ImageDraw.ImageDraw, rows: Sequence[Row], title: str, divide: int, shown: int) -> None:
    classes = len({row.label for row in rows})
    part = "" if shown == classes else f", {shown} of {classes} classes shown"
    kept = sum(row.kept for row in rows)
    pen.text((_MARGIN, 16), title, _INK, font=_font(20))
    facts = f"{kept} kept of {len(rows)} drawn{part}; below each image its {_SCORE}, or what else dropped it"
    pen.text((_MARGIN, 42), facts, _FAINT, font=_font(12))
    pen.text((_MARGIN + _NAME, 68), "kept", _KEPT, font=_font(14))
    pen.text((divide, 68), "dropped", _DROPPED, font=_font(14))


def _cell(sheet: Image.Image, pen: ImageDraw.ImageDraw, folder: Path, row: Row, corner: tuple[int, int]) -> None:
    left, top = corner
    try:
        image = read_image(folder / row.file_name)
    except UserError:
        return
    # Tiny images are enlarged without smoothing: one sees the pixels the network sees.
    method = Image.Resampling.NEAREST if max(image.size) < _CELL else Image.Resampling.LANCZOS
    sheet.paste(image.resize((_CELL, _CELL), method), (left, top))
    frame = _KEPT if row.kept else _DROPPED
    pen.rectangle([left - 1, top - 1, left + _CELL, top + _CELL], outline=frame)
    by_energy = _SCORE in row.scores and (row.kept or row.reason.startswith(_SCORE))
    caption = f"{row.scores[_SCORE]:.1f}" if by_energy else row.reason
    pen.text((left, top + _CELL + 2), _shortened(caption, 14), frame, font=_font(10))


def _order(label: int | None) -> float:
    return float("inf") if label is None else label


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced."""
    count = min(most, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def _shortened(text: str, most: int = 17) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
