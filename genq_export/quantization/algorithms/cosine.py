"""The learning rate of methods that learn: it falls from all of it to nothing along half a cosine."""

import math
from collections.abc import Callable


def cosine(steps: int) -> Callable[[int], float]:
    """What a rate is multiplied by at a step: 1 at 0, 0 from `steps` on (SGDR without restarts, arXiv 1608.03983)."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
