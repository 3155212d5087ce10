"""Sequences: a number for each symbol at every step, read as text by CTC."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.counts import Share
from genq_export.tasks.losses import kl_divergence
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task, only, only_tensor

_BLANK = 0  # the symbol that CTC leaves out, where networks of text recognition have it
# Of the sequences that read as float's. [ours]
_LEAST = {2: 0.0, 3: 0.2, 4: 0.5, 5: 0.7, 6: 0.85, 7: 0.9, 8: 0.95}
_SURE = 0.01  # of steps, by which a sum of probabilities may miss 1


class Sequence(Task):
    """One output [B, steps, symbols] of logits or probabilities."""

    name = "sequence"
    title = "sequence"
    expected = "it needs one output [images, steps, symbols]"
    cost_measure = "nats of KL a step"
    gives_logits = True

    def fits(self, shapes: Shapes) -> bool:
        """One matrix."""
        return len(shapes) == 1 and len(only(shapes)) == 2

    def is_likely(self, shapes: Shapes) -> bool:
        """Never by its shape: a matrix may be anything."""
        return False

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """KL to the float network's symbols, mean over steps, in nats."""
        return kl_divergence(self.logits(student), self.logits(teacher))

    def logits(self, answer: Answer) -> Tensor:
        """[B, symbols, steps]; of probabilities their logarithms."""
        steps = only_tensor(answer)
        sums = steps.detach().sum(-1)
        is_distribution = bool((steps.detach() >= 0).all()) and bool(((sums - 1).abs() < _SURE).all())
        return (steps.clamp_min(1e-12).log() if is_distribution else steps).movedim(-1, 1)

    def comparison(self) -> Comparison:
        """What is read."""
        return SameReading()

    def least(self, bits: int) -> Mapping[str, float]:
        """Of the sequences that read alike."""
        return {"same_text": _LEAST[bits]}


SEQUENCE = Sequence()


class SameReading(Comparison):
    """Share of sequences that read alike, and of steps with the same symbol."""

    def __init__(self) -> None:
        self._texts, self._steps = Share(), Share()

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch [B, steps, symbols]."""
        right, got = only(reference).argmax(-1), only(found).argmax(-1)
        self._steps.add(right == got)
        self._texts.add(np.array([collapsed(a) == collapsed(b) for a, b in zip(right, got, strict=True)]))

    def figures(self) -> tuple[Figure, ...]:
        """Whole sequences first."""
        return (
            Figure("same_text", "Sequences that read as float's", self._texts.value()),
            Figure("same_step", "Steps with float's symbol", self._steps.value()),
        )


def collapsed(symbols: NDArray[np.int64]) -> list[int]:
    """What CTC reads: runs of a symbol once, blanks left out (Graves et al., ICML 2006, the map B)."""
    changes = np.concatenate(([True], symbols[1:] != symbols[:-1])) if len(symbols) else np.zeros(0, bool)
    return [int(symbol) for symbol in symbols[changes] if symbol != _BLANK]
