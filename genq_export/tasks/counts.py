"""Sums over batches that figures are made of, of arrays of any shape."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEST_DB, WORST_DB = 300.0, -300.0  # of outputs without any difference, and of a zero that should not be one


@dataclass
class ErrorPower:
    """Power of a reference and of the error against it; SQNR = 10 log10(sum x^2 / sum (y - x)^2)."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, reference: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        """Count arrays of one shape."""
        wide = reference.astype(np.float64)
        self.signal += float(np.square(wide).sum())
        self.error += float(np.square(found - wide).sum())

    def sqnr_db(self) -> float:
        """In dB, between -300 and 300."""
        if self.error == 0:
            return BEST_DB
        return max(WORST_DB, 10 * math.log10(self.signal / self.error)) if self.signal > 0 else WORST_DB


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
