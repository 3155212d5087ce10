"""One picture of answers: for some images what the float network sees, what the deployed file sees, and the difference.

Masks are colours over the picture, maps are grey, boxes have the colour of their class. In the last column red is where
the two differ: positions of another class, the size of a map's error, boxes that the other has no equal of.
"""

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.base import Batch, Outputs
from genq_export.tasks.shown import Shown, ShownBoxes, ShownMap, ShownMask
from genq_export.tasks.task import Task

IMAGES = 4
_COLUMNS = ("image", "float", "deployed", "difference")
_GAP, _HEAD, _SMALLEST, _LARGEST = 8, 22, 160, 256
_EQUAL = 0.5  # IoU of two boxes of a class that are the same
_PAPER, _INK, _WRONG = "#ffffff", "#1c2430", (214, 48, 40)
_WASHED = 0.35  # of the picture behind masks and differences

Pixels = NDArray[np.uint8]


def answer_sheet(
    task: Task, model: LoadedModel, batch: Batch, float_outputs: Outputs, deployed_outputs: Outputs
) -> bytes | None:
    """The sheet as PNG, a line an image, at most `IMAGES`; None where answers of the task are no picture.

    Args:
        task: of the network.
        model: how pixels were prepared, and the names of classes.
        batch: float32 [B, C, H, W] as the network takes it.
        float_outputs: what the float network gives for it.
        deployed_outputs: what the deployed file gives for it.
    """
    right, found = task.shown(float_outputs)[:IMAGES], task.shown(deployed_outputs)[:IMAGES]
    if not right or not found:
        return None
    names = model.class_names or ()
    shown = zip(pictures(batch, model)[:IMAGES], right, found, strict=True)
    rows = [_row(picture, before, after, names) for picture, before, after in shown]
    return _sheet(rows)


def pictures(batch: Batch, model: LoadedModel) -> list[Pixels]:
    """Prepared images [B, C, H, W] as people see them, uint8 [H, W, 3] each."""
    mean, std = (np.asarray(part, np.float32).reshape(1, -1, 1, 1) for part in (model.mean, model.std))
    colours = np.clip((batch * std + mean) * 255, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    if colours.shape[-1] not in (1, 3):
        colours = colours[..., :1]
    seen = colours[..., ::-1] if model.layout == "BGR" else colours
    return [np.repeat(image, 3, 2) if image.shape[2] == 1 else image for image in seen]


def _row(picture: Pixels, right: Shown, found: Shown, names: Sequence[str]) -> list[Image.Image]:
    size = _shown_size(picture)
    plain = Image.fromarray(picture).resize(size, Image.Resampling.NEAREST)
    answers = [_drawn(plain, picture.shape, answer, names) for answer in (right, found)]
    return [plain, *answers, _difference(plain, picture.shape, right, found, names)]


def _shown_size(picture: Pixels) -> tuple[int, int]:
    """Width and height: small pictures larger by a whole factor, large ones smaller."""
    height, width = picture.shape[:2]
    side = max(height, width)
    scale = max(1, _SMALLEST // side) if side < _LARGEST else _LARGEST / side
    return max(1, round(width * scale)), max(1, round(height * scale))


def _drawn(plain: Image.Image, shape: Sequence[int], answer: Shown, names: Sequence[str]) -> Image.Image:
    if isinstance(answer, ShownMask):
        return Image.blend(_to(plain, _coloured(answer.classes)), plain, _WASHED)
    if isinstance(answer, ShownMap):
        return _to(plain, np.repeat(_grey(answer.values)[..., None], 3, 2))
    sheet = plain.copy()
    _draw_boxes(sheet, shape, answer, names)
    return sheet


def _difference(
    plain: Image.Image, shape: Sequence[int], right: Shown, found: Shown, names: Sequence[str]
) -> Image.Image:
    washed = Image.blend(Image.new("RGB", plain.size, _PAPER), plain, _WASHED)
    if isinstance(right, ShownMask) and isinstance(found, ShownMask):
        return _in_red(washed, (right.classes != found.classes).astype(np.float32))
    if isinstance(right, ShownMap) and isinstance(found, ShownMap):
        span = max(float(np.ptp(right.values)), 1e-12)
        return _in_red(washed, np.clip(np.abs(right.values - found.values) / span, 0, 1).astype(np.float32))
    assert isinstance(right, ShownBoxes) and isinstance(found, ShownBoxes)
    for answer in (_without_equal(right, found), _without_equal(found, right)):
        _draw_boxes(washed, shape, answer, names, _WRONG)
    return washed


def _in_red(washed: Image.Image, share: NDArray[np.float32]) -> Image.Image:
    """share: how red, [H, W] in [0, 1]."""
    mask = Image.fromarray((share * 255).round().astype(np.uint8)).resize(washed.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", washed.size, _WRONG), washed, mask)


def _without_equal(boxes: ShownBoxes, others: ShownBoxes) -> ShownBoxes:
    """Those that no box of the same class overlaps enough."""
    alone = np.array(
        [not any(_equal(boxes, i, others, j) for j in range(len(others.labels))) for i in range(len(boxes.labels))],
        bool,
    )
    return ShownBoxes(boxes.corners[alone], boxes.labels[alone], boxes.scores[alone])


def _equal(boxes: ShownBoxes, i: int, others: ShownBoxes, j: int) -> bool:
    a, b = boxes.corners[i], others.corners[j]
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    both = float(sides.prod())
    either = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - both
    return bool(boxes.labels[i] == others.labels[j]) and both >= _EQUAL * max(either, 1e-12)


def _draw_boxes(
    sheet: Image.Image,
    shape: Sequence[int],
    answer: ShownBoxes,
    names: Sequence[str],
    colour: tuple[int, int, int] | None = None,
) -> None:
    """shape: of the network's input, height and width first."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    shares = len(answer.corners) and float(answer.corners.max()) <= 1.5
    sides = np.array([1, 1] if shares else [shape[1], shape[0]], np.float32)
    places = answer.corners.reshape(-1, 2, 2) / sides * np.array(sheet.size, np.float32)
    for (first, last), label, score in zip(places, answer.labels.tolist(), answer.scores.tolist(), strict=True):
        if not (np.isfinite([*first, *last]).all() and (last >= first).all()):
            continue
        tone = colour or _colour(label)
        name = names[label] if label < len(names) else str(label)
        pen.rectangle((*first.tolist(), *last.tolist()), outline=tone, width=2)
        pen.text((float(first[0]) + 3, float(first[1]) + 1), f"{name[:16]} {score:.2f}", tone, font=font)


def _to(plain: Image.Image, pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels).resize(plain.size, Image.Resampling.NEAREST)


def _coloured(classes: NDArray[np.int64]) -> Pixels:
    palette: Pixels = np.array([_colour(label) for label in range(int(classes.max()) + 1)], np.uint8)
    coloured: Pixels = palette[classes]
    return coloured


def _colour(label: int) -> tuple[int, int, int]:
    """Of a class: hues a golden ratio apart, so that neighbours differ; the first, often the background, is dark."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.65, 0.9 if label else 0.35)
    return round(255 * red), round(255 * green), round(255 * blue)


def _grey(values: NDArray[np.float32]) -> Pixels:
    low, span = float(values.min()), max(float(np.ptp(values)), 1e-12)
    grey: Pixels = (np.clip((values - low) / span, 0, 1) * 255).round().astype(np.uint8)
    return grey


def _sheet(rows: list[list[Image.Image]]) -> bytes:
    width, height = rows[0][0].size
    across, down = width + _GAP, height + _GAP
    sheet = Image.new("RGB", (len(_COLUMNS) * across + _GAP, _HEAD + len(rows) * down), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, name in enumerate(_COLUMNS):
        pen.text((_GAP + column * across, 4), name, _INK, font=font)
    for line, row in enumerate(rows):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_GAP + column * across, _HEAD + line * down))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
