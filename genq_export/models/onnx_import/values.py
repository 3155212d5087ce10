"""What is known of the tensors of an ONNX graph before it has ever seen an image.

The graph is followed for two numbers of images at once. What does not depend on pixels is computed for both: shapes and
all that the file makes of them. Where the two differ the value grows with the number of images, and a straight line
through both is what the network computes for any other; `check` holds the network against the file for one image.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genq_export.models.onnx_import.network import Sizes

IMAGES = (2, 3)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph.

    name: in the file. tried: what it is for each of `IMAGES`; where it depends on pixels, tensors on the meta device,
    which have shape and type alone. known: it does not depend on pixels. weight: it is a float tensor of the file's, or
    one of its numbers in other places.
    """

    name: str
    tried: tuple[Tensor, ...]
    known: bool = False
    weight: bool = False

    @property
    def fixed(self) -> bool:
        """Is it known, and the same for any number of images?"""
        first, *others = self.tried
        return self.known and all(_same(first, other) for other in others)

    @property
    def parameter(self) -> nn.Parameter:
        """The numbers of a weight."""
        kept = self.tried[0]
        assert isinstance(kept, nn.Parameter)
        return kept

    @property
    def shape(self) -> torch.Size:
        """For two images."""
        return self.tried[0].shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of its elements."""
        return self.tried[0].dtype

    @property
    def rank(self) -> int:
        """The number of its axes."""
        return self.tried[0].dim()

    def axis(self, number: int) -> int:
        """An axis counted from the front. Raises ValueError where there is none of this number."""
        if not -self.rank <= number < self.rank:
            raise ValueError(f"axis {number} of a tensor of {self.rank}")
        return number % self.rank

    def grows(self, axis: int) -> bool:
        """Does its size along an axis depend on the number of images?"""
        return len({int(tensor.shape[axis]) for tensor in self.tried}) > 1

    def shape_sizes(self) -> Sizes:
        """Its shape for any number of images."""
        return line([list(tensor.shape) for tensor in self.tried])


@dataclass(frozen=True)
class AsSizes:
    """Stands for a value of integers where a function takes a list of them."""

    value: Value

    def sizes(self) -> Sizes:
        """For any number of images."""
        return line([tensor.flatten().tolist() for tensor in self.value.tried])

    def tried(self, index: int) -> list[int]:
        """For one of the numbers that are tried."""
        return [int(size) for size in self.value.tried[index].flatten().tolist()]


def line(tried: list[list[int]]) -> Sizes:
    """The straight line through the integers for each of `IMAGES`."""
    first, second = tried
    factor = [b - a for a, b in zip(first, second, strict=True)]
    offset = [a - IMAGES[0] * step for a, step in zip(first, factor, strict=True)]
    return Sizes(tuple(map(int, offset)), tuple(map(int, factor)))


def number(value: Value) -> Any:
    """The one number that a fixed value holds."""
    return value.tried[0].flatten()[0].item()


def _same(first: Tensor, other: Tensor) -> bool:
    return first is other or (first.shape == other.shape and torch.equal(first, other))
