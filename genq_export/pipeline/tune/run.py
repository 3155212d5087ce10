"""Build candidates until nothing promises more or the time is up, and ship the best of them.

Every candidate is a build folder of its own below `candidates/`, made by the pipeline as any other, so that a second
run goes on where the first ended; they lie side by side and so share one calibration set. The winner is copied to
`winner/` and measured in full there.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from genq_export.config.build import BuildConfig
from genq_export.core.errors import MissingError, UserError
from genq_export.core.paths import check_place
from genq_export.core.progress import Progress
from genq_export.core.workspace import write_atomic
from genq_export.pipeline.build import run_stages
from genq_export.pipeline.stages import STAGES
from genq_export.pipeline.tune.candidate import CHEAP, Candidate, can_learn
from genq_export.pipeline.tune.choice import Conditions, next_candidate
from genq_export.pipeline.tune.outcome import Outcome, outcome_of
from genq_export.pipeline.tune.page import page
from genq_export.pipeline.tune.picture import picture
from genq_export.pipeline.tune.ship import CANDIDATES, ship
from genq_export.pipeline.tune.verdict import Tuned, judged, sentence
from runtime_tests.report.model import read_report

Item = TypeVar("Item")


class OutOfTime(Exception):
    """The budget is used up; what a build has so far stays in its folder, to go on from."""


class TimedProgress(Progress):
    """Ends a build by OutOfTime at the first sign of life behind a deadline: a line, or a block that is done."""

    def __init__(self, deadline: float, clock: Callable[[], float]) -> None:
        super().__init__(quiet=True)
        self._deadline, self._clock = deadline, clock

    def say(self, message: str) -> None:
        """Nothing is printed; a log gets the line."""
        super().say(message)
        if self._clock() > self._deadline:
            raise OutOfTime

    def track(self, items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
        """Yield from `items` while there is time."""
        for item in super().track(items, total, label):
            self.say(label)
            yield item


def tune(
    config: BuildConfig,
    folder: Path,
    conditions: Conditions,
    budget_minutes: float | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tuned:
    """Find the best build under conditions, and ship it to `folder`.

    Args:
        config: what all candidates have in common; they differ in bits, in layers kept in float and in learning.
        folder: of `tune.json`, `tune.html`, the candidates and the winner.
        conditions: what is asked.
        budget_minutes: when no further candidate is begun, and one that is not finished is left; the first is built
            however long it takes.
        progress: where to say what is done.
        clock: seconds, of which the budget is taken.

    Raises:
        UserError: for bad input, or where not one candidate could be built.
    """
    progress = progress or Progress(quiet=True)
    _check(folder)
    deadline = float("inf") if budget_minutes is None else clock() + 60 * budget_minutes
    tried, refused, unfinished = _search(config, folder, conditions, deadline, progress, clock)
    tuned = judged(config, conditions, list(tried.values()), refused, unfinished)
    progress.say(f"tune: {tuned.reason}")
    ship(config, folder, tuned, {outcome.name: candidate for candidate, outcome in tried.items()}, progress)
    drawn = picture(tuned.outcomes, conditions, tuned.winner)
    write_atomic(folder / "tune.json", (tuned.model_dump_json(indent=1) + "\n").encode())
    write_atomic(folder / "tune.svg", drawn.encode())
    write_atomic(folder / "tune.html", page(tuned.model_dump(), drawn).encode())
    return tuned


def _check(folder: Path) -> None:
    """Raise UserError where the folder holds what is not ours."""
    check_place(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CANDIDATES).is_dir():
        raise UserError(f"{folder} holds something that is not of `genq-export tune`: give another folder with -o")


def _search(
    config: BuildConfig,
    folder: Path,
    conditions: Conditions,
    deadline: float,
    progress: Progress,
    clock: Callable[[], float],
) -> tuple[dict[Candidate, Outcome], dict[str, str], str | None]:
    """Outcomes by candidate, why others could not be built, and the one that the time ran out in.

    What an earlier run has built is taken up whatever the time is, as nothing is said of it.
    """
    tried: dict[Candidate, Outcome] = {}
    failed: dict[Candidate, str] = {}
    while candidate := next_candidate(tried, list(failed), conditions, can_learn(config)):
        limit = deadline if tried else float("inf")
        try:
            tried[candidate] = outcome = built(candidate, config, folder, TimedProgress(limit, clock))
        except OutOfTime:
            return tried, _named(failed), candidate.name
        except MissingError:
            raise
        except UserError as error:
            if candidate == CHEAP[0]:
                raise
            failed[candidate] = str(error)
            progress.say(f"tune: {candidate.name} could not be built: {error}")
        else:
            progress.say(f"tune: {sentence(outcome)}")
    return tried, _named(failed), None


def _named(failed: dict[Candidate, str]) -> dict[str, str]:
    return {candidate.name: reason for candidate, reason in failed.items()}


def built(candidate: Candidate, config: BuildConfig, folder: Path, progress: Progress) -> Outcome:
    """Build or take up one candidate of a folder. Raises UserError where that cannot be done."""
    place = folder / CANDIDATES / candidate.name
    run_stages(candidate.config(config), place, STAGES, progress)
    report = read_report(place)
    return outcome_of(candidate.name, report, sum(stage.seconds for stage in report.stages))
