"""What `tune` says in the end: which of the builds is shipped, and why."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from genq_export.config.base import Frozen
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.pipeline.tune.choice import Conditions, best, front, nearest
from genq_export.pipeline.tune.outcome import GAIN, Outcome

Verdict = Literal["met", "nearest", "float"]


class Tuned(Frozen):
    """What `tune` found; the content of `tune.json`.

    Attributes:
        verdict: "met": the conditions are; "nearest": no build loses so little; "float": none is worth shipping.
        reason: why, in a sentence.
        winner: name of the build that was shipped; None: the float network was.
        front: names of the builds that no other beats in both loss and time (or size).
        refused: what could not be built, and why.
        unfinished: the build that the time ran out in.
    """

    version: Literal[1] = 1
    model: str
    target: str
    conditions: Conditions
    verdict: Verdict
    reason: str
    winner: str | None
    front: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    refused: dict[str, str] = Field(default_factory=dict)
    unfinished: str | None = None

    def outcome(self, name: str) -> Outcome:
        """Of one of the builds."""
        return next(outcome for outcome in self.outcomes if outcome.name == name)


def judged(
    config: BuildConfig,
    conditions: Conditions,
    outcomes: Sequence[Outcome],
    refused: Mapping[str, str],
    unfinished: str | None,
) -> Tuned:
    """Decide from all outcomes. refused, unfinished: as in `Tuned`."""
    found = best(outcomes, conditions)
    better = [outcome for outcome in outcomes if outcome.beats_float(conditions.minimize)]
    verdict: Verdict = "met" if found else "nearest" if better else "float"
    winner = found or (nearest(better) if better else None)
    return Tuned(
        model=config.model.title,
        target=config.target,
        conditions=conditions,
        verdict=verdict,
        reason=_reason(verdict, winner, outcomes, conditions) + _time(unfinished),
        winner=None if winner is None else winner.name,
        front=tuple(outcome.name for outcome in front(outcomes, conditions.minimize)),
        outcomes=tuple(outcomes),
        refused=dict(refused),
        unfinished=unfinished,
    )


def _reason(verdict: Verdict, winner: Outcome | None, outcomes: Sequence[Outcome], conditions: Conditions) -> str:
    if winner is None:
        quickest = min(outcomes, key=lambda outcome: outcome.cost(conditions.minimize))
        share = quickest.size_share if conditions.minimize == "size" else quickest.time_share or quickest.size_share
        what = "small" if conditions.minimize == "size" or quickest.time_share is None else "fast"
        reached = f"{quickest.name} reaches {1 / share:.2f}"
        return f"no build is {GAIN} times as {what} as float ({reached}): float is shipped"
    limit = f"{conditions.limit(winner.unit):g} {winner.unit}"
    if verdict == "met":
        return f"{sentence(winner)}: the best of {len(outcomes)} builds that lose at most {limit}"
    return f"none of {len(outcomes)} builds loses at most {limit}; the nearest is {sentence(winner)}"


def _time(unfinished: str | None) -> str:
    return "" if unfinished is None else f" (the time was up before {unfinished}; the same command goes on from there)"


def sentence(outcome: Outcome) -> str:
    """`w4a8: 0.07 points lost, 1.48 times as fast as float, 6.5 times smaller, 12 s`"""
    speed = "" if outcome.time_share is None else f", {1 / outcome.time_share:.2f} times as fast as float"
    return (
        f"{outcome.name}: {lost(outcome)}{speed}, {1 / outcome.size_share:.1f} times smaller, built in"
        f" {outcome.seconds:.0f} s"
    )


def lost(outcome: Outcome) -> str:
    """The loss with its unit."""
    if outcome.unit == "dB":
        return f"noise at {outcome.loss:.1f} dB of the signal"
    return f"{outcome.loss:.{2 if outcome.unit == 'points' else 4}f} {outcome.unit} lost"


def read_tuned(folder: Path) -> Tuned:
    """What an earlier run found. Raises UserError where there is nothing, or it is damaged."""
    path = folder / "tune.json"
    try:
        return Tuned.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        raise UserError(f"{path} is missing or damaged: `genq-export tune` writes it") from None
