"""Boxes and masks that do not belong to their images, or are none."""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.robustness.row import Make, Row, Stock

MASKS = ("build", "fashion_segmenter", "-q", "-o", "out", "--eval", "set")
BOXES = ("build", "fashion_detector", "-q", "-o", "out", "--eval", "set")
INSPECT = ("inspect", "set", "--model", "fashion_segmenter")


def _png(mode: str = "RGB", size: tuple[int, int] = (80, 80), value: int = 0, palette: int | None = None) -> bytes:
    image = Image.new(mode, size, value)
    if palette is not None:
        image.putpalette([(number + palette) % 256 for number in range(768)])
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()


def _set(**files: bytes | None) -> Make:
    """Two images and their masks, some of them replaced or left out; `__` in a name stands for a slash."""
    usual = {"images__a": _png(), "images__b": _png(), "masks__a": _png("L"), "masks__b": _png("L")}

    def make(home: Path, stock: Stock) -> None:
        for name, content in (usual | files).items():
            path = home / "set" / f"{name.replace('__', '/')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content)

    return make


def _annotated(content: Any) -> Make:
    """One image with a file of annotations."""

    def make(home: Path, stock: Stock) -> None:
        (home / "set").mkdir()
        (home / "set" / "a.png").write_bytes(_png())
        text = content if isinstance(content, str) else json.dumps(content)
        (home / "set" / "boxes.json").write_text(text)

    return make


def _coco(file_name: str = "a.png", width: int = 80, **box: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": file_name, "width": width, "height": 80}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]} | box],
        "categories": [{"id": 1, "name": "bag"}],
    }


ROWS: tuple[Row, ...] = (
    Row("mask folder", "a mask is missing", MASKS, "2 images and 1 mask, and no mask for 'b'", _set(masks__b=None)),
    Row("mask folder", "another size", MASKS, "has 40 x 80 pixels", _set(masks__a=_png("L", (40, 80)))),
    Row("mask folder", "in colours", MASKS, "is in colours (mode RGB)", _set(masks__b=_png())),
    Row(
        "mask folder", "two palettes", MASKS, "another palette",
        _set(masks__a=_png("P", palette=0), masks__b=_png("P", palette=9)),
    ),
    Row("mask folder", "no class", INSPECT, "holds the number 200", _set(masks__b=_png("L", value=200))),
    Row("file of boxes", "another file", BOXES, "holds no boxes as COCO has them", _annotated({"a": 1})),
    Row("file of boxes", "nested", BOXES, "holds no boxes as COCO has them", _annotated("[" * 200_000)),
    Row("file of boxes", "no image", BOXES, "1 of 1 images that boxes.json lists", _annotated(_coco("b.png"))),
    Row("file of boxes", "a name out of the folder", BOXES, "is not the name of a file", _annotated(_coco("../a.png"))),
    Row("file of boxes", "of other images", BOXES, "its boxes are of one of 640 x 80", _annotated(_coco(width=640))),
    Row("file of boxes", "outside", BOXES, "not left, top, width and height", _annotated(_coco(bbox=[70, 0, 90, 9]))),
    Row("file of boxes", "of no image", BOXES, "is of image 7", _annotated(_coco(image_id=7))),
)  # fmt: skip
