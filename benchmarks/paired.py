"""How much a number changes image by image."""

import numpy as np
from numpy.typing import NDArray


def paired_change(each: NDArray[np.float64], usual: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of `each` - `usual` over images, both [N], and half of its 95 % interval."""
    change = each - usual
    return float(change.mean()), float(1.96 * change.std(ddof=1) / len(change) ** 0.5)
