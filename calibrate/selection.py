"""Which images of a pool are kept: pure arithmetic on the scores that the metadata states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calibrate.dataset import KEPT
from genq_export.config.calibrate import CalibrateConfig

ENERGY = "energy"
ENERGY_MAX = "energy above maximum"
DISTRIBUTION = "distribution"
QUOTA = "quota full"
_FEW_CLASSES = 64  # of which images drawn together show each, or nearly


@dataclass(frozen=True)
class Candidate:
    """What the selection looks at. energy: low is good. distribution_score: distribution score, low is good, None
    without one.

    rejected: why the image is unusable, None if it is usable.
    """

    number: int
    label: int
    energy: float | None
    distribution_score: float | None
    rejected: str | None


def quotas(images: int, classes: int) -> list[int]:
    """Images to keep of each class: they sum to `images`, differ by one at most, and the odd ones are spread out."""
    return [(label + 1) * images // classes - label * images // classes for label in range(classes)]


def planned(quota: int, config: CalibrateConfig) -> int:
    """Usable images a class needs so that its quota is left after both filters."""
    return math.ceil(quota * config.pool_factor - 1e-9)


def interleave(counts: Sequence[int]) -> list[int]:
    """Labels in turns, 0, 1, …, 0, 1, … until label `c` has come `counts[c]` times: any stretch is balanced.

    Turns of many classes go in strides: neighbours are often alike (the first 400 classes of ImageNet are animals), and
    images that are drawn together should be of all kinds.
    """
    turns = ([label for label, count in enumerate(counts) if turn < count] for turn in range(max(counts, default=0)))
    return [label for turn in turns for label in _in_strides(turn)]


def _in_strides(labels: Sequence[int]) -> Sequence[int]:
    count = len(labels)
    if count <= _FEW_CLASSES:
        return labels
    stride = next(step for step in range(round(0.618 * count), count) if math.gcd(step, count) == 1)
    return [labels[place * stride % count] for place in range(count)]


def shortfall(candidates: Sequence[Candidate], quota: Sequence[int], config: CalibrateConfig) -> list[int]:
    """Images to draw next for each class: what it lacks, at its rate of usable images so far, up to the pool limit."""
    drawn, usable = [0] * len(quota), [0] * len(quota)
    for candidate in candidates:
        drawn[candidate.label] += 1
        usable[candidate.label] += is_usable(candidate, config)
    wanted = []
    for label, share in enumerate(quota):
        lacking = planned(share, config) - usable[label]
        expected = math.ceil(lacking * max(1, drawn[label]) / max(1, usable[label]))
        limit = max(math.ceil(share * config.pool_limit), planned(share, config))
        wanted.append(max(0, min(expected, limit - drawn[label])) if lacking > 0 else 0)
    return wanted


def is_usable(candidate: Candidate, config: CalibrateConfig) -> bool:
    """Can the image be kept at all?"""
    if candidate.rejected is not None or candidate.energy is None:
        return False
    return config.energy_max is None or candidate.energy <= config.energy_max


def select(candidates: Sequence[Candidate], quota: Sequence[int], config: CalibrateConfig) -> list[str]:
    """The reason for each candidate, in order: "kept", or what dropped it.

    Class by class: the share `energy_keep` of lowest energy, of these the share `distribution_keep` of lowest
    distribution_score, where the network has that score, of these the first by number up to the quota. A class with
    too few usable images is filtered less, never below its quota. Ties go to the lower number.
    """
    reasons: dict[int, str] = {}
    for label, share in enumerate(quota):
        members = [candidate for candidate in candidates if candidate.label == label]
        for candidate in members:
            reasons[candidate.number] = candidate.rejected or ENERGY_MAX
        left = [candidate for candidate in members if is_usable(candidate, config)]
        energies = [(candidate.energy or 0.0, candidate) for candidate in left]
        # To the nearest image here and down below: of two images of a class the distribution filter chooses one.
        left = _keep_lowest(energies, max(share, round(config.energy_keep * len(left))), ENERGY, reasons)
        distribution_scores = [
            (candidate.distribution_score, candidate) for candidate in left if candidate.distribution_score is not None
        ]
        if len(distribution_scores) == len(left):
            count = math.floor(config.distribution_keep * len(left) + 1e-9)
            left = _keep_lowest(distribution_scores, max(share, count), DISTRIBUTION, reasons)
        for place, candidate in enumerate(sorted(left, key=lambda c: c.number)):
            reasons[candidate.number] = KEPT if place < share else QUOTA
    return [reasons[candidate.number] for candidate in candidates]


def _keep_lowest(
    scored: list[tuple[float, Candidate]], count: int, reason: str, reasons: dict[int, str]
) -> list[Candidate]:
    order = [candidate for _, candidate in sorted(scored, key=lambda pair: (pair[0], pair[1].number))]
    for candidate in order[count:]:
        reasons[candidate.number] = reason
    return order[:count]
