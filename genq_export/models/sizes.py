"""How many classes and input channels a network has, where its weights say otherwise than its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genq_export.data.account import counted

if TYPE_CHECKING:
    from torch import Tensor

    from genq_export.models.loaded import LoadedModel
    from genq_export.models.state_dict import Fit


@dataclass(frozen=True)
class Sizes:
    """What a door can create a network with."""

    classes: int
    channels: int

    @classmethod
    def of(cls, model: "LoadedModel") -> "Sizes":
        """Those that a network has."""
        return cls(model.classes, model.input_size[0])

    def __str__(self) -> str:
        return f"{counted(self.classes, 'class')} and {counted(self.channels, 'input channel')}"


def sizes_of(fit: "Fit", model: "LoadedModel") -> Sizes:
    """Read the sizes off the tensors of a file that have another shape than the network's.

    A tensor with a row for each class belongs to the head, a kernel over the input's channels to the first convolution.
    Whether all of the file then fits is seen when it is loaded.

    Returns:
        The network's own sizes where the file does not say one other number.
    """
    own = Sizes.of(model)
    pairs = [(fit.tensors[name].shape, fit.expected[name].shape) for name in fit.misshapen]
    pairs = [(found, wanted) for found, wanted in pairs if len(found) == len(wanted) > 0]
    classes = {found[0] for found, wanted in pairs if wanted[0] == own.classes and found[0] != wanted[0]}
    if own.classes == 0:  # a name of timm that has no head
        classes = _rows(fit.unknown)
    kernels = [(found, wanted) for found, wanted in pairs if len(wanted) > 2 and found[0] == wanted[0]]
    channels = {found[1] for found, wanted in kernels if wanted[1] == own.channels and found[1] != wanted[1]}
    return Sizes(_only(classes, own.classes), _only(channels, own.channels))


def _rows(tensors: "Mapping[str, Tensor]") -> set[int]:
    """Rows of the matrix that comes last."""
    matrices = [tensor.shape[0] for tensor in tensors.values() if tensor.ndim == 2]
    return set(matrices[-1:])


def _only(numbers: set[int], otherwise: int) -> int:
    (number,) = numbers if len(numbers) == 1 else (otherwise,)
    return number or otherwise
