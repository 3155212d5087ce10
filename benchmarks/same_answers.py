"""How often a quantized classifier answers as the float network does."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

SURE = 0.3  # the float network's top probability from which an answer counts as sure


class SameAnswers(NamedTuple):
    """Shares of images with the float network's top class: of all, and of the `sure` ones; NaN where none is sure."""

    share: float
    sure_share: float
    sure: int


def same_answers(float_logits: NDArray[Any], logits: NDArray[Any]) -> SameAnswers:
    """Of logits [N, classes]."""
    same = logits.argmax(1) == float_logits.argmax(1)
    sure = softmax(float_logits.astype(np.float64), axis=1).max(1) >= SURE
    return SameAnswers(float(same.mean()), float(same[sure].mean()), int(sure.sum()))
