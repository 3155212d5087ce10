"""Numerics of verification as pure functions over NumPy arrays."""

import math

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # standard normal quantile at 0.975


def wilson_interval(hits: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Confidence interval of a proportion, (low, high) in [0, 1].

    Wilson 1927, "Probable inference, the law of succession, and statistical inference":
    `(p + z²/2n ± z·sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n)`. Stays inside [0, 1] and is right for few images and for
    proportions near 0 and 1, where `p ± z·sqrt(p(1−p)/n)` is not. n = 0 gives (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula gives exactly 0 or 1; rounding must not push past the proportion itself.
    return min(max(0.0, (middle - spread) / scale), p), max(min(1.0, (middle + spread) / scale), p)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that two classifiers on the same images are equally good.

    McNemar 1947, exact binomial form: of the images that exactly one gets right, the share of the first is 1/2 under
    the hypothesis. `p = min(1, 2·P(X ≤ min(b, c)))`, X ~ Binomial(b + c, 1/2). No such image: p = 1.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    base = math.lgamma(n + 1) - n * math.log(2)
    terms = (math.exp(base - math.lgamma(i + 1) - math.lgamma(n - i + 1)) for i in range(k + 1))
    return min(1.0, 2 * math.fsum(terms))


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Row-wise log-probabilities, float64 [B, K]: `z − max z − log Σ exp(z − max z)`."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def kl_divergence(reference: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL(softmax(reference) ‖ softmax(other)) of each row in nats, float64 [B], from logits [B, K]."""
    log_p, log_q = log_softmax(reference), log_softmax(other)
    result: NDArray[np.float64] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return np.maximum(result, 0.0)


def in_top(logits: NDArray[np.floating], labels: NDArray[np.integer], k: int) -> NDArray[np.bool_]:
    """Is each label among the k largest logits of its row? bool [B]. A tie counts for the lower class."""
    own = logits[np.arange(len(labels)), labels][:, None]
    classes = np.arange(logits.shape[1])[None, :]
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    result: NDArray[np.bool_] = ahead.sum(axis=1) < k
    return result


def sqnr_db(signal_power: float, noise_power: float) -> float:
    """Signal to quantization noise ratio, `10·log10(Σ x² / Σ (x̂ − x)²)`, in dB; infinite without noise."""
    if noise_power == 0:
        return math.inf
    return 10 * math.log10(signal_power / noise_power) if signal_power > 0 else -math.inf


def cosine(dot: float, first_power: float, second_power: float) -> float:
    """Cosine similarity from the sums `Σ xy`, `Σ x²`, `Σ y²`; two zero vectors count as equal."""
    if first_power == 0 and second_power == 0:
        return 1.0
    norm = math.sqrt(first_power * second_power)
    return dot / norm if norm > 0 else 0.0
