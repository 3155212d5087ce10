"""Images of a set as files: lossless PNG whose text says what drew it, with a digest of its pixels."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from genq_export.core.errors import UserError
from genq_export.core.workspace import write_atomic
from genq_export.data.decode import opened_image

_TEXT_KEY = "genq"


def write_image(path: Path, pixels: np.ndarray, facts: dict[str, Any]) -> None:
    """Write uint8 [H, W, 3] as PNG, lossless and atomically, with `facts` and a digest of the pixels in its text."""
    text = PngImagePlugin.PngInfo()
    text.add_text(_TEXT_KEY, json.dumps({**facts, "pixels": _digest(pixels)}))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", pnginfo=text)
    write_atomic(path, buffer.getvalue())


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts `write_image` put into a file; None if it is missing, damaged or not ours."""
    try:
        with opened_image(path, str(path)) as image:
            facts: dict[str, Any] = json.loads(getattr(image, "text", {})[_TEXT_KEY])
            return facts if facts["pixels"] == _digest(np.asarray(image)) else None
    except (UserError, RecursionError):  # of JSON that is nested without end
        return None


def is_written_here(path: Path) -> bool:
    """Did `write_image` write the file? Told by its text alone, whatever its pixels are now."""
    try:
        with opened_image(path, str(path)) as image:
            return _TEXT_KEY in getattr(image, "text", {})
    except UserError:
        return False


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:32]
