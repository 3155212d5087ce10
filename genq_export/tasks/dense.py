"""A dense map: one number at every position, such as saliency, depth, or where text is."""

from torch import Tensor

from genq_export.network.outputs import Answer
from genq_export.tasks.counts import ErrorPower
from genq_export.tasks.losses import relative_error
from genq_export.tasks.shown import Shown, ShownMap
from genq_export.tasks.task import Arrays, Comparison, Figure, Shapes, Task, only, only_tensor

_HALF = 0.5  # above it a probability says yes


class DenseMap(Task):
    """One output [B, 1, H, W]."""

    name = "dense"
    title = "dense map"
    expected = "it needs one output [images, 1, height, width]"

    def fits(self, shapes: Shapes) -> bool:
        """One map of one channel."""
        return len(shapes) == 1 and len(only(shapes)) == 3 and only(shapes)[0] == 1

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """Squared error as a share of the map's power."""
        return relative_error(only_tensor(student), only_tensor(teacher))

    def shown(self, outputs: Arrays) -> list[Shown]:
        """The maps."""
        return [ShownMap(values) for values in only(outputs)[:, 0]]

    def comparison(self) -> Comparison:
        """The two maps."""
        return MapDistance()


DENSE = DenseMap()


class MapDistance(Comparison):
    """SQNR; of a map of probabilities, which lies within 0 and 1, also the IoU of where it is above one half."""

    def __init__(self) -> None:
        self._power = ErrorPower()
        self._both = self._either = 0
        self._probabilities = True

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch of maps."""
        right, got = only(reference), only(found)
        self._power.add(right, got)
        self._probabilities &= bool(right.min() >= 0 and right.max() <= 1)
        first, second = right > _HALF, got > _HALF
        self._both += int((first & second).sum())
        self._either += int((first | second).sum())

    def figures(self) -> tuple[Figure, ...]:
        """The IoU first where there is one."""
        sqnr = Figure("map_sqnr", "SQNR of the map", self._power.sqnr_db(), "dB")
        if not self._probabilities or not self._either:
            return (sqnr,)
        return (Figure("map_iou", "IoU with float's map above one half", self._both / self._either), sqnr)
