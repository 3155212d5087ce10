"""Calibration sets and what a folder holds, for tests of what is written where."""

import json
import os
from pathlib import Path

from PIL import Image

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import sha256

QUIET = Progress(quiet=True)


def make_set(folder: Path, *names: str) -> Path:
    """A calibration set whose list names these; the images are there where they can be."""
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(folder / "images" / "0.png")
    row = {
        "label": None, "class_name": None, "second_class": None, "prompt": "", "seed": None, "kept": True,
        "reason": "kept",
    }  # fmt: skip
    lines = [json.dumps({"file_name": name, **row}) for name in ("images/0.png", *names)]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def with_set(folder: Path) -> BuildConfig:
    return BuildConfig.for_model("fashion_resnet", preset="quick").changed("quantize", {"calibration_set": folder})


def everything(folder: Path) -> dict[str, tuple[str, int] | str | None]:
    """All there is below a folder, with contents and times."""
    found: dict[str, tuple[str, int] | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = (sha256(path), path.stat().st_mtime_ns) if path.is_file() else None
    return found
