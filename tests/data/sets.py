"""Sets of 120 images in ten classes, whose files say what they show, in every form in which people bring them."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from genq_export import zoo

CLASSES, EACH = len(zoo.CLASS_NAMES), 12
TRUTH = [label for label in range(CLASSES) for _ in range(EACH)]


@dataclass(frozen=True)
class Network:
    """The classes of a network, without it."""

    class_names: tuple[str, ...] | None = zoo.CLASS_NAMES
    name: str = "net"
    classes: int = CLASSES


def picture(label: int, number: int = 0) -> Image.Image:
    """8x8 pixels whose red is the class and whose green is the number."""
    return Image.new("RGB", (8, 8), (20 * label, number, 7))


def png(label: int, number: int = 0) -> bytes:
    out = io.BytesIO()
    picture(label, number).save(out, "PNG")
    return out.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def class_folders(root: Path, names: Sequence[str], each: int = EACH, labels: Sequence[int] | None = None) -> Path:
    """`names[k]/k-7.png` and so on; `labels[k]` is what a name stands for, k where none is given."""
    for place, name in enumerate(names):
        label = place if labels is None else labels[place]
        for number in range(each):
            write(root / name / f"{label}-{number}.png", png(label, number))
    return root


def shard(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def shown(images: Sequence[Path] | Sequence[Image.Image]) -> list[int]:
    """What each image shows, read off its pixels."""
    found = []
    for image in images:
        pixels = np.asarray(Image.open(image).convert("RGB") if isinstance(image, Path) else image)
        found.append(int(pixels[0, 0, 0]) // 20)
    return found
