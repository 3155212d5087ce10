"""Embeddings: one vector for an image, whose direction and neighbours matter."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.losses import cosine_distance
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task, only, only_tensor

# Of the mean cosine. [ours]
_LEAST = {2: 0.3, 3: 0.5, 4: 0.7, 5: 0.85, 6: 0.93, 7: 0.96, 8: 0.98}
_FEWEST = 3  # images among which one has a nearest neighbour worth the name
_TINY = 1e-12


class Embedding(Task):
    """One output [B, numbers], which are no logits."""

    name = "embedding"
    title = "embedding"
    expected = "it needs one output [images, numbers]"
    cost_measure = "1 - cosine"
    of_features = True

    def fits(self, shapes: Shapes) -> bool:
        """One vector."""
        return len(shapes) == 1 and len(only(shapes)) == 1

    def is_likely(self, shapes: Shapes) -> bool:
        """Never by its shape: a vector is logits."""
        return False

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """1 - cosine."""
        return cosine_distance(only_tensor(student), only_tensor(teacher))

    def comparison(self) -> Comparison:
        """Direction, and who is nearest."""
        return Neighbours()

    def least(self, bits: int) -> Mapping[str, float]:
        """Of the mean cosine."""
        return {"cosine": _LEAST[bits]}


EMBEDDING = Embedding()


class Neighbours(Comparison):
    """Mean cosine of the two vectors of an image, and how often its nearest neighbour in the set is the same."""

    def __init__(self) -> None:
        self._right: list[NDArray[np.float64]] = []
        self._got: list[NDArray[np.float64]] = []

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Keep one batch of vectors [B, numbers]."""
        self._right.append(_unit(only(reference)))
        self._got.append(_unit(only(found)))

    def figures(self) -> tuple[Figure, ...]:
        """The cosine first."""
        if not self._right:
            return ()
        right, got = np.concatenate(self._right), np.concatenate(self._got)
        cosine = Figure("cosine", "Cosine with float's vector, mean", float((right * got).sum(1).mean()), "")
        if len(right) < _FEWEST:
            return (cosine,)
        kept = float((_nearest(right) == _nearest(got)).mean())
        return (cosine, Figure("neighbour", "Nearest neighbour kept", kept))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    found: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _TINY)
    return found


def _nearest(unit: NDArray[np.float64]) -> NDArray[np.int64]:
    """The most similar other vector of each."""
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    found: NDArray[np.int64] = similar.argmax(1)
    return found
