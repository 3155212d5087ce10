"""What of an answer a person can be shown, as arrays; the report's pictures are drawn from these."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShownMask:
    """The class of every position, int64 [H, W]."""

    classes: NDArray[np.int64]


@dataclass(frozen=True)
class ShownMap:
    """A number at every position, float32 [H, W]."""

    values: NDArray[np.float32]


@dataclass(frozen=True)
class ShownBoxes:
    """What was detected, N of them.

    corners: float32 [N, 4], x1, y1, x2, y2 in pixels of the network's input, or as shares of its sides. labels: int64
    [N]. scores: float32 [N], in [0, 1].
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


Shown: TypeAlias = ShownMask | ShownMap | ShownBoxes
