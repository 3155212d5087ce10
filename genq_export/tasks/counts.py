"""Sums over batches that figures are made of, of arrays of any shape."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEST_DB, WORST_DB = 300.0, -300.0  # of outputs without any difference, and of a zero that should not be one


def sqnr_db(signal_power: float, noise_power: float) -> float:
    """Signal to quantization noise ratio, `10·log10(Σ x² / Σ (x̂ − x)²)`, in dB; infinite without noise."""
    if not math.isfinite(noise_power):
        return -math.inf
    if noise_power == 0:
        return math.inf
    return 10 * math.log10(signal_power / noise_power) if signal_power > 0 else -math.inf


@dataclass
class ErrorPower:
    """Power of a reference and of the error against it."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, reference: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        """Count arrays of one shape."""
        wide = reference.astype(np.float64)
        self.signal += float(np.square(wide).sum())
        self.error += float(np.square(found - wide).sum())

    def sqnr_db(self) -> float:
        """In dB, between -300 and 300."""
        return min(BEST_DB, max(WORST_DB, sqnr_db(self.signal, self.error)))


@dataclass
class Share:
    """How many of how many."""

    hits: int = 0
    of: int = 0

    def add(self, hits: NDArray[np.bool_]) -> None:
        """Count what is true."""
        self.hits += int(hits.sum())
        self.of += hits.size

    def value(self) -> float:
        """In [0, 1]; 1 of nothing."""
        return self.hits / self.of if self.of else 1.0
