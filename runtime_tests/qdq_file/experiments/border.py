"""Rounding: do the numbers whose codes differ lie where two codes meet?

Sums in another order, or a product with `1/s` for a division by `s`, move a number by some parts in 10⁷: that changes a
code only at the border. How many numbers lie so close is counted over all of them: where chance would put the
differing ones there as well, nothing is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime_tests.qdq_file.copies import with_outputs
from runtime_tests.qdq_file.experiments.scene import REFERENCE, Finding, Scene
from runtime_tests.qdq_file.graph import Quantizer
from runtime_tests.qdq_file.loading import Arrays

_BORDER = 1e-3  # of a step
_CHANCE = 1e-3
_EDGES = np.concatenate([[0.0], np.logspace(-12, 0, 121)])


@dataclass
class Distances:
    """From the border of two codes, in steps: of all numbers as a histogram, and of those whose codes differ."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_EDGES) - 1, np.int64))
    wrong: int = 0
    furthest: float = 0.0
    largest: int = 0

    def add(self, steps: NDArray[np.float64], expected: NDArray[np.int32], found: NDArray[np.int32]) -> None:
        """Count one run. steps: before rounding."""
        distances = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
        self.counts += np.histogram(distances, _EDGES)[0]
        gap = np.abs(found - expected)
        differs = gap > 0
        if differs.any():
            self.wrong += int(differs.sum())
            self.furthest = max(self.furthest, float(distances[differs].max()))
            self.largest = max(self.largest, int(gap.max()))

    @property
    def as_close(self) -> float:
        """Share of all numbers that lie as close as the furthest of the differing ones."""
        place = int(np.searchsorted(_EDGES, self.furthest, side="right"))
        return float(self.counts[:place].sum() / max(1, self.counts.sum()))

    @property
    def decides(self) -> bool:
        """Is it the border that they have in common, and no chance?"""
        if not self.wrong or self.largest > 1 or self.furthest > _BORDER:
            return False
        return bool(self.wrong * np.log(max(self.as_close, 1e-300)) <= np.log(_CHANCE))


def at_the_border(scene: Scene, suspects: Sequence[Quantizer]) -> Mapping[str, Finding]:
    """Look at the numbers that the reference rounds."""
    measured = {item.tensor: Distances() for item in suspects}
    sources = [item.source for item in suspects]
    given = {part.name for part in scene.fed.graph.input}
    asked = sorted({name for name in sources if name not in given})
    numbers = scene.runs(with_outputs(scene.fed, asked), REFERENCE, asked) if asked else [{} for _ in scene.samples]
    for sample, rounded, right, found in zip(scene.samples, numbers, scene.expected, scene.found, strict=True):
        for item in suspects:
            _add(measured[item.tensor], item, {**sample, **rounded}, right, found)
    return {tensor: _finding(item) for tensor, item in measured.items()}


def _add(measured: Distances, item: Quantizer, numbers: Arrays, right: Arrays, found: Arrays) -> None:
    steps = item.steps(numbers[item.source])
    expected, codes = right[item.tensor], found.get(item.tensor, right[item.tensor])
    if steps is not None and expected.shape == codes.shape == steps.shape:
        measured.add(steps, expected.astype(np.int32), codes.astype(np.int32))


def _finding(measured: Distances) -> Finding:
    if not measured.wrong:
        return Finding()
    evidence = (
        f"the {measured.wrong:,} numbers whose codes differ by themselves lie at most {measured.furthest:.1g} of a step"
        f" from the border of two codes; {100 * measured.as_close:.2g} % of all numbers do"
    )
    explanation = "float rounding decides at the border of two codes" if measured.decides else None
    return Finding(explanation, evidence)
