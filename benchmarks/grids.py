"""Bits of weights and of activations by the name of a grid, as `BuildConfig.for_model` takes them."""

from typing import Any

WIDTHS: dict[str, tuple[int, Any]] = {
    "W8A8": (8, 8), "W4A8": (4, 8), "W4A4-8": (4, "auto"), "W4A4": (4, 4), "W2A4": (2, 4),
}  # fmt: skip
