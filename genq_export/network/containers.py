"""Which container a grid's codes lie in, and by how much they are shifted there."""

import numpy as np

_HALF = 128


def container_shift(container: str, lo: int, hi: int) -> int:
    """What is added to the codes of [lo, hi] to hold them in a container.

    Args:
        container: `uint8` holds signed grids shifted by 128; `int8` holds the full unsigned grid of 8 bits so.
    """
    if container == "uint8":
        return _HALF if lo < 0 else 0
    return -_HALF if hi >= _HALF else 0


def reciprocal(scale: np.float32, ends: tuple[int, int]) -> np.float32:
    """What OpenVINO multiplies by in place of dividing by a scale (docs/numerics.md).

    Args:
        scale: of the grid.
        ends: smallest and largest code of the 8-bit container, less the zero-point.
    """
    span = np.float32(ends[1]) * scale - np.float32(ends[0]) * scale
    return np.float32(255) / np.float32(span)
