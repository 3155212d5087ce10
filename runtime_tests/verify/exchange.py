"""Have two output channels of a layer taken each other's place?

Two channels that did are nearer to each other's float weight than to their own. So are, among many channels of few
weights (depthwise kernels), two that are merely noisy: among a thousand of nine weights each, noise of a random
direction leads a few of them to each other. What tells them apart is chance. With o the cosine of a channel's codes u
to its own weight w, the noise of the codes has a direction in the K - 1 dimensions across w; for u to be as near to w'
as it is, the noise must point along w' by

    t = (u·w' - o (w·w')) / (sqrt(1 - o²) sqrt(1 - (w·w')²)),

and a random direction of n dimensions does so, or more, with probability P(T > t sqrt(n - 1) / sqrt(1 - t²)), T of
Student's distribution with n - 1 degrees of freedom. Of the channels no more like themselves than these two, which are
r and r' in number, about r·r'·P·P' pairs are expected to do so by chance. [ours]
"""

from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

NEARER = 0.1  # in cosine: to each other's weight than to the own
_DIMENSIONS = 2  # of noise, in which a direction is more than a sign
_LEAST = 1e-12  # of 1 - cosine²: what float64 tells apart


@dataclass(frozen=True)
class Exchange:
    """The two channels that are most like exchanged ones.

    nearer: the lesser of both differences of cosines, to each other's weight less to their own. chance: how many pairs
    like this one are expected in this layer of noise alone; 1 and more where they are not nearer to each other.
    """

    one: int
    other: int
    nearer: float
    chance: float


def most_exchanged(codes: Tensor, weight: Tensor, rank: Tensor) -> Exchange | None:
    """The pair that chance explains least; where no two are nearer to each other, the nearest.

    Args:
        codes: directions of codes, float [C, K].
        weight: directions of float weights, float [C, K].
        rank: of each channel among all of its layer, from 1 for the one least like itself, [C].

    Returns:
        None where there are no two channels.
    """
    if len(codes) < 2:
        return None
    likeness = codes.double() @ weight.double().T
    more = likeness - likeness.diagonal()[:, None]
    nearer = torch.minimum(more, more.T).fill_diagonal_(-torch.inf).numpy()
    among = rank.double().numpy()
    alone = _by_chance(likeness.numpy(), (weight.double() @ weight.double().T).numpy(), weight.shape[1])
    expected = among[:, None] * among[None, :] * alone * alone.T
    suspected = np.where(nearer > NEARER, expected, np.inf)
    place = int(suspected.argmin() if np.isfinite(suspected).any() else nearer.argmax())
    one, other = divmod(place, len(codes))
    return Exchange(one, other, float(nearer[one, other]), float(expected[one, other]))


def _by_chance(likeness: NDArray[np.float64], between: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Probability that noise of a random direction brings channel i as near to the weight of j, [C, C].

    Args:
        likeness: cosines of codes i to weights j.
        between: cosines of weights.
        size: numbers of a weight.
    """
    if size - 1 < _DIMENSIONS:
        return np.full_like(likeness, 0.5)
    own = np.diagonal(likeness)[:, None]
    across = np.sqrt(np.maximum(1 - own**2, _LEAST) * np.maximum(1 - between**2, _LEAST))
    along = np.clip((likeness - own * between) / across, -1, 1)
    ratio = along * np.sqrt((size - 2) / np.maximum(1 - along**2, _LEAST))
    found: NDArray[np.float64] = scipy.stats.t.sf(ratio, size - 2)
    return found
