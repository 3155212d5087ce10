"""Any tensors: nothing is known of them but that they should be the float network's."""

from torch import Tensor

from genq_export.network.outputs import Answer, by_name
from genq_export.tasks.counts import ErrorPower
from genq_export.tasks.losses import relative_error
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task


class Tensors(Task):
    """One or several outputs of any rank."""

    name = "tensors"
    title = "tensors"
    of_features = True
    expected = "it takes any outputs"

    def fits(self, shapes: Shapes) -> bool:
        """Always."""
        return True

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """Mean over the outputs of the squared error as a share of the output's power."""
        return mean_relative_error(student, teacher)

    def comparison(self) -> Comparison:
        """SQNR of the output that is furthest off."""
        return WorstOutput()


TENSORS = Tensors()


def mean_relative_error(student: Answer, teacher: Answer) -> Tensor:
    """Mean over the outputs of the squared error as a share of the output's power. A scalar, differentiable."""
    found, right = by_name(student), by_name(teacher)
    errors = [relative_error(found[name], right[name]) for name in right]
    total = sum(errors[1:], start=errors[0])
    return total / len(errors)


class WorstOutput(Comparison):
    """SQNR of every output in dB, the least of them first."""

    def __init__(self) -> None:
        self._powers: dict[str, ErrorPower] = {}

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch."""
        for name, right in reference.items():
            self._powers.setdefault(name, ErrorPower()).add(right, found[name])

    def figures(self) -> tuple[Figure, ...]:
        """One figure: a build is as good as its worst output."""
        by_output = {name: power.sqnr_db() for name, power in self._powers.items()}
        if not by_output:
            return ()
        worst = min(by_output, key=by_output.__getitem__)
        title = f"SQNR of '{worst}', the output furthest off" if len(by_output) > 1 else f"SQNR of '{worst}'"
        return (Figure("worst_sqnr", title, by_output[worst], "dB"),)
