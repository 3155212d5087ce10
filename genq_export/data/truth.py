"""What people say is to be seen in an image: boxes, or a class for every pixel."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

UNJUDGED = 255  # in masks: pixels of which nothing is said


@dataclass(frozen=True)
class Boxes:
    """Of one image, in pixels of the network's input.

    corners: float32 [n, 4], left, top, right, bottom. labels: int64 [n]. crowd: bool [n], boxes around many objects, in
    which nothing that is found is wrong.
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]


Mask: TypeAlias = NDArray[np.uint8]  # [H, W] of the network's input: a class, or UNJUDGED
Truth: TypeAlias = Boxes | Mask
