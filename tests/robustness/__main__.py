"""`python -m tests.robustness`: everything that somebody may hand over, tried, and the counts of what came of it.

Bad inputs through the command line, kills of a stage at each of its changes, and a change of every field of every file.
`--only PATTERN` runs the bad inputs whose title has it, and nothing else.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.robustness.bad_inputs import ROWS
from tests.robustness.forked import Outcome, run
from tests.robustness.report_kills import kill_the_report
from tests.robustness.row import Stock
from tests.robustness.tamper_table import expected, make_folder, tamper


def table(outcomes: Iterable[Outcome]) -> str:
    """Counts by kind and in all."""
    lines = [
        "| kind | inputs | tracebacks | wrong exit code | written although exit 2 | other faults |",
        "|---|---|---|---|---|---|",
    ]
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kind.setdefault(outcome.row.kind, []).append(outcome)
    for kind, found in by_kind.items():
        lines.append(f"| {kind} | {_figures(found)} |")
    every = [outcome for found in by_kind.values() for outcome in found]
    return "\n".join([*lines, f"| **{len(by_kind)} kinds** | {_figures(every)} |"])


def _figures(outcomes: list[Outcome]) -> str:
    counts = Counter[str]()
    for one in outcomes:
        named = {"traceback": one.has_traceback, "code": one.has_wrong_code, "wrote": one.wrote}
        counts.update(name for name, is_so in named.items() if is_so)
        counts["other"] += bool(one.faults) and not any(named.values())
    figures = (len(outcomes), counts["traceback"], counts["code"], counts["wrote"], counts["other"])
    return " | ".join(map(str, figures))


def _bad_inputs(pattern: str, home: Path) -> bool:
    rows = [row for row in ROWS if re.search(pattern, row.title)]
    outcomes = list(run(rows, Stock(home)))
    print(table(outcomes))
    for outcome in outcomes:
        if outcome.faults:
            print(f"RED {outcome.row.title!r}: {', '.join(outcome.faults)}: {outcome.err[-300:]!r}")
    return bool(outcomes) and not any(outcome.faults for outcome in outcomes)


def _kills(home: Path) -> bool:
    kills = kill_the_report(make_folder(home / "killed").folder, home / "kills")
    same = sum(kill.same_bytes for kill in kills)
    print(f"kills: same bytes {same}/{len(kills)}")
    return same == len(kills) > 0


def _tamperings(home: Path) -> bool:
    rows = [row for row in tamper(make_folder(home / "tampered")) if len(expected(row)) < 3]
    right = sum(row.outcome in expected(row) for row in rows)
    print(f"tamperings: as they must be {right}/{len(rows)}")
    return right == len(rows) > 0


def main() -> None:
    """Print the table; exit code 1 where anything is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("--only", metavar="PATTERN", help="of the titles of bad inputs, such as 'YAML'")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        well = _bad_inputs(only or "", home)
        if only is None:
            well = all((well, _kills(home), _tamperings(home)))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
