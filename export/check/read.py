"""The golden data of a build, read back: whole, and of the build's own file."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from export.check.golden import LEVELS, Golden
from genq_export.core.errors import UserError
from genq_export.core.paths import reading
from genq_export.core.workspace import Workspace


@dataclass(frozen=True)
class GoldenData:
    """Images uint8 [N, C, H, W], and the number of each level float32 [C, 256], beside what is said of them."""

    golden: Golden
    pixels: NDArray[np.uint8]
    table: NDArray[np.float32]


def read_golden(workspace: Workspace) -> GoldenData:
    """Read `check/golden.json` and the images of `check/golden.bin`.

    Raises:
        UserError: where there is no check, or its files are damaged or do not belong together.
    """
    place, data = workspace.path("check", "golden.json"), workspace.path("check", "golden.bin")
    again = f"run `genq-export export {workspace.folder}`"
    with reading(place.parent):
        if not place.is_file() or not data.is_file():
            raise UserError(f"{workspace.folder} has no check: {again}, with export.check_size above 0")
        text, content = place.read_bytes(), data.read_bytes()
    try:
        golden = Golden.model_validate_json(text)
    except ValidationError:
        raise UserError(f"{place} is damaged: {again}") from None
    if hashlib.sha256(content).hexdigest() != golden.data:
        raise UserError(f"{data} is damaged or belongs to another build: {again}")
    channels, height, width = golden.shape
    count = golden.images * channels * height * width
    table_end = golden.table + 4 * channels * LEVELS
    if not (0 <= golden.pixels <= len(content) - count and golden.table >= 0 and table_end <= len(content) and count):
        raise UserError(f"{place} does not belong to {data.name}: {again}")
    pixels = np.frombuffer(content, np.uint8, count, golden.pixels).reshape(golden.images, *golden.shape)
    table = np.frombuffer(content, "<f4", channels * LEVELS, golden.table).reshape(channels, LEVELS)
    return GoldenData(golden, pixels, table)
