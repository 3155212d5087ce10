"""Every row of the table of bad inputs: one line, the exit code it says, and a folder as it was."""

from collections import Counter

import pytest

from tests.robustness.bad_inputs import ROWS
from tests.robustness.forked import run
from tests.robustness.row import Row, Stock

QUICK = list({row.kind: row for row in reversed(ROWS) if not row.slow}.values())[::-1]
SLOW = [row for row in ROWS if row not in QUICK]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.title)
def test_it_is_refused_with_one_line(row: Row, stock: Stock) -> None:
    (outcome,) = run([row], stock)
    assert not outcome.faults, f"{outcome.faults}\n{outcome.out}\n{outcome.err}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({row.kind for row in SLOW}))
def test_every_one_of_its_kind_is(kind: str, stock: Stock) -> None:
    outcomes = run([row for row in SLOW if row.kind == kind], stock)
    faults = {outcome.row.name: (outcome.faults, outcome.err[-300:]) for outcome in outcomes if outcome.faults}
    assert not faults


def test_no_kind_has_too_many_rows_and_no_row_is_there_twice() -> None:
    counts = Counter(row.kind for row in ROWS)
    assert max(counts.values()) <= 8
    assert len({row.title for row in ROWS}) == len(ROWS)
