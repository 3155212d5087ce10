"""Numerics of verification as pure functions over NumPy arrays."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import binomtest

Z_95 = 1.959963984540054  # standard normal quantile at 0.975


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion, (low, high) in [0, 1]; n = 0 gives (0, 1).

    Wilson 1927, "Probable inference, the law of succession, and statistical inference". Stays inside [0, 1] and is
    right for few images and for proportions near 0 and 1, where `p ± z·sqrt(p(1−p)/n)` is not.
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    # At the ends the formula gives exactly 0 or 1; rounding must not push past the proportion itself.
    return min(float(interval.low), hits / n), max(float(interval.high), hits / n)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that two classifiers on the same images are equally good.

    McNemar 1947, exact binomial form: of the images that exactly one gets right, the share of the first is 1/2 under
    the hypothesis. No such image: p = 1.
    """
    n = only_first + only_second
    return float(binomtest(min(only_first, only_second), n, 0.5).pvalue) if n else 1.0


def kl_divergence(reference: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(softmax(reference) ‖ softmax(other)) of each row in nats, float64 [B], from logits [B, K]."""
    log_p, log_q = (log_softmax(logits.astype(np.float64), axis=1) for logits in (reference, other))
    result: NDArray[np.float64] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return np.maximum(result, 0.0)


def in_top(logits: NDArray[np.floating], labels: NDArray[np.integer], k: int) -> NDArray[np.bool_]:
    """Is each label among the k largest logits of its row? bool [B]. A tie counts for the lower class."""
    own = logits[np.arange(len(labels)), labels][:, None]
    classes = np.arange(logits.shape[1])[None, :]
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    result: NDArray[np.bool_] = ahead.sum(axis=1) < k
    return result


def cosine(dot: float, first_power: float, second_power: float) -> float:
    """Cosine similarity from the sums `Σ xy`, `Σ x²`, `Σ y²`; two zero vectors count as equal."""
    if first_power == 0 and second_power == 0:
        return 1.0
    norm = math.sqrt(first_power * second_power)
    return dot / norm if norm > 0 else 0.0
