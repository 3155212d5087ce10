"""Classification: a number for each class of an image."""

from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.counts import Share
from genq_export.tasks.losses import kl_divergence
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task, only, only_tensor


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
        return only(shapes)[0]

    def fits(self, shapes: Shapes) -> bool:
        """One vector of at least two numbers."""
        return len(shapes) == 1 and len(only(shapes)) == 1 and only(shapes)[0] > 1

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """KL to the float network's classes, in nats."""
        return kl_divergence(only_tensor(student), only_tensor(teacher))

    def logits(self, answer: Answer) -> Tensor | None:
        """All of it."""
        return only_tensor(answer)

    def comparison(self) -> Comparison:
        """Agreement."""
        return _SameClass()


CLASSIFICATION = Classification()


class _SameClass(Comparison):
    """Share of images with the same top-1 class."""

    def __init__(self) -> None:
        self._same = Share()

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch of logits."""
        self._same.add(only(reference).argmax(1) == only(found).argmax(1))

    def figures(self) -> tuple[Figure, ...]:
        """Agreement."""
        return (Figure("agreement", "Same class as float", self._same.value()),)
