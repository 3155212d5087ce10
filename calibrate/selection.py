"""Which images of a pool are kept: pure arithmetic on the scores that the metadata states."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrate.filters.filter import FilterRule, filter_rules, pool_factor
from genq_export.config.calibrate import CalibrateConfig
from genq_export.data.calibration_set import KEPT
from genq_export.models.loaded import LoadedModel

QUOTA = "quota full"
_FEW_CLASSES = 64  # of which images drawn together show each, or nearly


@dataclass(frozen=True)
class Candidate:
    """What the selection looks at. scores: by name of the filter. rejected: why the image is no image, None if it is.

    A rejected image has no scores.
    """

    number: int
    label: int
    scores: Mapping[str, float]
    rejected: str | None = None


@dataclass(frozen=True)
class SelectionRules:
    """How a pool is filtered.

    filters: in order of use. pool_factor: images to draw for one kept when none is unusable. pool_limit: images drawn
    at most for one kept.
    """

    filters: tuple[FilterRule, ...]
    pool_factor: float
    pool_limit: float


def selection_rules(model: LoadedModel, settings: CalibrateConfig, dropping: bool) -> SelectionRules:
    """Return the rules of one set.

    Args:
        model: the network, which decides which filters apply.
        settings: of the set.
        dropping: False where filters score images and drop none.
    """
    filters = filter_rules(model, settings, dropping)
    return SelectionRules(tuple(filters), pool_factor(settings, dropping), settings.pool_limit)


def quotas(images: int, classes: int) -> list[int]:
    """Images to keep of each class: they sum to `images`, differ by one at most, and the odd ones are spread out."""
    return [(label + 1) * images // classes - label * images // classes for label in range(classes)]


def planned(quota: int, rules: SelectionRules) -> int:
    """Usable images a class needs so that its quota is left after all filters."""
    return math.ceil(quota * rules.pool_factor - 1e-9)


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


def shortfall(candidates: Sequence[Candidate], quota: Sequence[int], rules: SelectionRules) -> list[int]:
    """Images to draw next for each class: what it lacks, at its rate of usable images so far, up to the pool limit."""
    generated, usable = [0] * len(quota), [0] * len(quota)
    for candidate in candidates:
        generated[candidate.label] += 1
        usable[candidate.label] += is_usable(candidate, rules)
    wanted = []
    for label, share in enumerate(quota):
        lacking = planned(share, rules) - usable[label]
        expected = math.ceil(lacking * max(1, generated[label]) / max(1, usable[label]))
        limit = max(math.ceil(share * rules.pool_limit), planned(share, rules))
        wanted.append(max(0, min(expected, limit - generated[label])) if lacking > 0 else 0)
    return wanted


def is_usable(candidate: Candidate, rules: SelectionRules) -> bool:
    """Can the image be kept at all?"""
    return _unusable(candidate, rules) is None


def select(candidates: Sequence[Candidate], quota: Sequence[int], rules: SelectionRules) -> list[str]:
    """Say of each candidate, in order, that it is "kept", or what dropped it.

    Class by class and filter by filter: of what is left, the kept share with the best scores. Of what is then left, the
    first by number up to the quota. A class with too few usable images is filtered less, never below its quota. Ties go
    to the lower number.
    """
    reasons: dict[int, str] = {}
    for label, share in enumerate(quota):
        left = []
        for candidate in candidates:
            if candidate.label != label:
                continue
            if (unusable := _unusable(candidate, rules)) is not None:
                reasons[candidate.number] = unusable
            else:
                left.append(candidate)
        for place, rule in enumerate(rules.filters):
            left, dropped = _split(left, rule, max(share, _kept_count(len(left), rule.kept_share, place)))
            reasons |= {candidate.number: rule.filter.role for candidate in dropped}
        for place, candidate in enumerate(sorted(left, key=lambda each: each.number)):
            reasons[candidate.number] = KEPT if place < share else QUOTA
    return [reasons[candidate.number] for candidate in candidates]


def _unusable(candidate: Candidate, rules: SelectionRules) -> str | None:
    """Why an image can never be kept, None if it can."""
    if candidate.rejected is not None:
        return candidate.rejected
    return next((rule.beyond for rule in rules.filters if not rule.allows(candidate.scores)), None)


def _kept_count(count: int, share: float, place: int) -> int:
    """To the nearest image in the first filter, down in those after it: of two images of a class these choose one."""
    return round(share * count) if place == 0 else math.floor(share * count + 1e-9)


def _split(candidates: Sequence[Candidate], rule: FilterRule, count: int) -> tuple[list[Candidate], list[Candidate]]:
    """The best `count`, and the others."""

    def place(candidate: Candidate) -> tuple[float, int]:
        return rule.filter.badness(candidate.scores[rule.filter.name]), candidate.number

    order = sorted(candidates, key=place)
    return order[:count], order[count:]
