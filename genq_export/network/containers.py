"""Which container a grid's codes lie in, and by how much they are shifted there."""

_HALF = 128


def container_shift(container: str, lo: int, hi: int) -> int:
    """What is added to the codes of [lo, hi] to hold them in a container.

    Args:
        container: `uint8` holds signed grids shifted by 128; `int8` holds the full unsigned grid of 8 bits so.
    """
    if container == "uint8":
        return _HALF if lo < 0 else 0
    return -_HALF if hi >= _HALF else 0
