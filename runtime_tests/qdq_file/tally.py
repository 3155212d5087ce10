"""Codes of a runtime beside the reference's, run by run.

In a run a difference is *inherited* where a code tensor that a quantizer is computed from already differs. A quantizer
differs *by itself* where it does so although all these are equal: in a run, or fed with the reference's codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from runtime_tests.qdq_file.graph import Quantizer
from runtime_tests.qdq_file.loading import Arrays


@dataclass
class Count:
    """Of one quantizer. clean: differing codes in runs where all its inputs are equal. own: fed with right codes."""

    codes: int = 0
    differing: int = 0
    largest: int = 0
    clean: int = 0
    own: int = 0
    own_largest: int = 0

    @property
    def by_itself(self) -> bool:
        """Does it differ by itself?"""
        return bool(self.own or self.clean)


@dataclass
class Tally:
    """Of all quantizers, in topological order. equal_runs: those in which every code is equal."""

    quantizers: Sequence[Quantizer]
    counts: dict[str, Count] = field(default_factory=dict)
    runs: int = 0
    equal_runs: int = 0

    def add(self, expected: Arrays, found: Arrays, fed: Arrays | None) -> bool:
        """Count one run; fed: codes of a copy that was fed with `expected`. Returns whether every code is equal."""
        differs = set[str]()
        for item in self.quantizers:
            count = self.counts.setdefault(item.tensor, Count())
            wrong, largest = difference(expected, found, item.tensor)
            count.codes += expected[item.tensor].size
            count.differing += wrong
            count.largest = max(count.largest, largest)
            count.clean += wrong if differs.isdisjoint(item.inputs) else 0
            differs |= {item.tensor} if wrong else set()
            if fed is not None:
                own, own_largest = difference(expected, fed, item.tensor)
                count.own += own
                count.own_largest = max(count.own_largest, own_largest)
        self.runs += 1
        self.equal_runs += not differs
        return not differs

    @property
    def suspects(self) -> list[Quantizer]:
        """Those that differ by themselves."""
        return [item for item in self.quantizers if self.counts[item.tensor].by_itself]

    @property
    def first(self) -> Quantizer | None:
        """The first that differs in topological order."""
        return next((item for item in self.quantizers if self.counts[item.tensor].differing), None)


def difference(expected: Arrays, found: Arrays, name: str) -> tuple[int, int]:
    """How many codes of a tensor differ, and by how much at most; all of them where shapes do."""
    first, second = expected[name], found[name]
    if first.shape != second.shape:
        return max(first.size, second.size), 2**16
    gap = np.abs(first.astype(np.int32) - second.astype(np.int32))
    return int((gap > 0).sum()), int(gap.max(initial=0))
