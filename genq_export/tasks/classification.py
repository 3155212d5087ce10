"""Classification: a number for each class of an image."""

from torch import Tensor

from genq_export.network.outputs import Answer, by_name
from genq_export.tasks.counts import Share
from genq_export.tasks.losses import kl_divergence
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task


class Classification(Task):
    """One output of logits [B, classes]."""

    name = "classification"
    title = "classification"
    cost_measure = "nats of KL"
    has_logits = True
    gives_logits = True
    expected = "it needs one output [images, classes]"

    def classes(self, shapes: Shapes) -> int:
        """The logits."""
        return next(iter(shapes.values()))[0]

    def fits(self, shapes: Shapes) -> bool:
        """One vector of at least two numbers."""
        return [len(shape) for shape in shapes.values()] == [1] and next(iter(shapes.values()))[0] > 1

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """KL to the float network's classes, in nats."""
        return kl_divergence(_logits(student), _logits(teacher))

    def logits(self, answer: Answer) -> Tensor | None:
        """All of it."""
        return _logits(answer)

    def comparison(self) -> Comparison:
        """Agreement."""
        return _SameClass()


CLASSIFICATION = Classification()


def _logits(answer: Answer) -> Tensor:
    (logits,) = by_name(answer).values()
    return logits


class _SameClass(Comparison):
    """Share of images with the same top-1 class."""

    def __init__(self) -> None:
        self._same = Share()

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch of logits."""
        (right,), (got,) = reference.values(), found.values()
        self._same.add(right.argmax(1) == got.argmax(1))

    def figures(self) -> tuple[Figure, ...]:
        """Agreement."""
        return (Figure("agreement", "Same class as float", self._same.value()),)
