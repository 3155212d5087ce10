"""What is tried next, and which of the tried builds is best: decided from outcomes alone.

First the cheap ones, less those that what was built rules out. Then those that would be better than the best so far
if their loss were smaller, and whose loss is within reach: with the layers in float that cost most, and at last
learned, as that takes longest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from genq_export.config.base import Frozen
from genq_export.pipeline.tune.candidate import CHEAP, MIXED_BITS, Candidate
from genq_export.pipeline.tune.outcome import Minimize, Outcome, Unit

# The loss that is held to be nothing worth speaking of, where no limit is given.
USUAL_LIMIT: Mapping[Unit, float] = {"points": 1.0, "nats": 0.05, "dB": -20.0}
KEPT = (1, 2)  # of the worst layers in float
# [ours] On the zoo learning leaves a half to four fifths of the loss in closed form; what needs more is not tried.
REACH = 2.0  # limits more, or tenths of the usual limit where that is more
REACH_DB = 10.0
W8A8, W4A8, MIXED, W4A4 = CHEAP
WIDE = replace(W4A4, wide=True)
SAME = 0.02  # shares of time or size that differ by less are held to be equal

Tried = Mapping[Candidate, Outcome]


class Conditions(Frozen):
    """What is asked of the best build. max_loss: None: `USUAL_LIMIT`."""

    max_loss: float | None = Field(None, allow_inf_nan=False)
    minimize: Minimize = "latency"

    def limit(self, unit: Unit) -> float:
        """The largest loss that is allowed, in the unit that could be measured."""
        return USUAL_LIMIT[unit] if self.max_loss is None else self.max_loss

    def allows(self, outcome: Outcome) -> bool:
        """Is the loss small enough, and the build better than float?"""
        return outcome.loss <= self.limit(outcome.unit) and outcome.beats_float(self.minimize)


def best(outcomes: Sequence[Outcome], conditions: Conditions) -> Outcome | None:
    """The best that is allowed; of those equal within noise the one that loses least, then the smallest."""
    allowed = [outcome for outcome in outcomes if conditions.allows(outcome)]
    if not allowed:
        return None
    least = min(outcome.cost(conditions.minimize) for outcome in allowed)
    if conditions.minimize == "loss":
        equal = [outcome for outcome in allowed if outcome.loss == least]
    else:
        equal = [outcome for outcome in allowed if outcome.cost(conditions.minimize) <= least * (1 + _margin(outcome))]
    return min(equal, key=lambda outcome: (outcome.loss, outcome.size_share))


def nearest(outcomes: Sequence[Outcome]) -> Outcome:
    """The one that loses least."""
    return min(outcomes, key=lambda outcome: (outcome.loss, outcome.size_share))


def front(outcomes: Sequence[Outcome], minimize: Minimize) -> list[Outcome]:
    """The Pareto front of loss and time (of loss and size where that is to be small), the fastest first."""
    axis: Minimize = "size" if minimize == "size" else "latency"
    found: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.cost(axis), outcome.loss)):
        if not found or outcome.loss < found[-1].loss:
            found.append(outcome)
    return found


def next_candidate(tried: Tried, failed: Sequence[Candidate], conditions: Conditions, learn: bool) -> Candidate | None:
    """What to build next; None where nothing promises anything.

    Args:
        tried: what was built, with its outcome.
        failed: what could not be built.
        conditions: what is asked.
        learn: whether learning is possible at all.
    """
    done = {*tried, *failed}
    cheap = [candidate for candidate in CHEAP if not _is_ruled_out(candidate, tried, conditions)]
    variants = list(_follow_ups(tried, conditions, learn))
    # Mixed precision is larger than W4A8, whose variants come first where size counts.
    ordered = (*cheap[:2], *variants, *cheap[2:]) if conditions.minimize == "size" else (*cheap, *variants)
    return next((candidate for candidate in ordered if candidate not in done), None)


def _is_ruled_out(candidate: Candidate, tried: Tried, conditions: Conditions) -> bool:
    """Is it known of a cheap candidate that it cannot be the best?

    Fewer bits never lose less; W4A4 has the bytes of W4A8. Time alone is not known before it is measured.
    """
    if candidate == W4A4:
        return conditions.minimize != "latency" and W4A8 in tried
    if candidate == MIXED and conditions.minimize == "size" and W8A8 in tried:
        found = best(list(tried.values()), conditions)
        return found is not None and found.size_share <= tried[W8A8].size_share * MIXED_BITS / 8
    return False


def _follow_ups(tried: Tried, conditions: Conditions, learn: bool) -> Iterator[Candidate]:
    """Variants of the candidates that promise something, the most promising first; those of all without learning."""
    promising = sorted(
        (candidate for candidate in CHEAP if candidate in tried and _promises(tried[candidate], tried, conditions)),
        key=lambda candidate: (tried[candidate].cost(conditions.minimize), tried[candidate].loss),
    )
    if _wide_promises(tried, conditions):
        yield WIDE
    for candidate in promising:
        for count in KEPT:
            kept = tried[candidate].worst[:count]
            if len(kept) == count:
                yield Candidate(candidate.weight_bits, candidate.activation_bits, kept)
    for candidate in promising:
        if learn and (candidate.weight_bits, candidate.activation_bits) != (8, 8):
            yield Candidate(candidate.weight_bits, candidate.activation_bits, learned=True)


def _promises(outcome: Outcome, tried: Tried, conditions: Conditions) -> bool:
    """Would it be better than the best, were its loss smaller; and can that be?"""
    found = best(list(tried.values()), conditions)
    if not outcome.beats_float(conditions.minimize):
        return False
    if conditions.minimize == "loss":
        return found is None or outcome in front(list(tried.values()), "loss")[-2:]
    if found is None:
        return outcome == nearest(list(tried.values())) or _within_reach(outcome, conditions)
    return _gains(outcome, found, conditions) and _within_reach(outcome, conditions)


def _wide_promises(tried: Tried, conditions: Conditions) -> bool:
    """Can W4 with some activations of 8 bits be the best? It is no smaller than W4A8, no faster than W4A4, and between
    the two in loss: where 4 bits of activations gain time and lose too much, and 8 do not."""
    if W4A4 not in tried or W4A8 not in tried or not conditions.allows(tried[W4A8]):
        return False
    found = best(list(tried.values()), conditions)
    return found is not None and _gains(tried[W4A4], found, conditions)


def _gains(outcome: Outcome, found: Outcome, conditions: Conditions) -> bool:
    """Would it be better than what was found, but for its loss?"""
    cheaper = outcome.cost(conditions.minimize) * (1 + _margin(outcome)) < found.cost(conditions.minimize)
    return cheaper and not conditions.allows(outcome)


def _within_reach(outcome: Outcome, conditions: Conditions) -> bool:
    limit, unit = conditions.limit(outcome.unit), outcome.unit
    return outcome.loss <= limit + (REACH_DB if unit == "dB" else REACH * max(limit, USUAL_LIMIT[unit] / 10))


def _margin(outcome: Outcome) -> float:
    """How much two shares may differ and be equal."""
    return max(SAME, outcome.noise)
