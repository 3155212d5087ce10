"""What is printed at the end of a build: nothing that belongs together is broken across lines."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from genq_export.config.verify import GatesConfig
from runtime_tests.report import compare
from runtime_tests.report.model import Report
from runtime_tests.report.render.key_figures import key_figures
from runtime_tests.report.render.phrases import Phrases
from runtime_tests.report.render.terminal import terminal
from runtime_tests.verify import gates
from runtime_tests.verify.results import Machine
from tests.runtime_tests.measured import COST, SLOW, codes, grids, report, run, score


def printed(renderable: RenderableType, width: int) -> list[str]:
    """Lines on a console of that width which is no terminal."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def whole(passed: bool) -> Report:
    measured = run(latency=SLOW, cost=COST, notes=("latency was not measured on the target",))
    if not passed:
        measured = measured.model_copy(update={"fidelity": (codes(10),), "accuracy": {"float": score(1)}})
    judged, _ = gates.check(measured, (), GatesConfig(min_speedup=1.5, max_size_share=0.2), grids(4))
    return report(measured, latency=SLOW, gates=judged, passed=passed, verdict="It is.")


@pytest.mark.parametrize("passed", [True, False])
def test_on_a_wide_console_every_row_is_a_line(passed: bool) -> None:
    shown = whole(passed)
    lines = printed(terminal(shown), 300)
    for row in key_figures(shown):
        (line,) = [line for line in lines if line.strip().startswith(row.what)]
        assert row.figure in line and line.endswith(" ".join(row.context) or row.figure)
    assert len(lines) == 2 + 1 + len(key_figures(shown)) + 1 + len(shown.gates) + 1


@pytest.mark.parametrize("passed", [True, False])
def test_on_80_columns_no_phrase_and_no_figure_is_broken(passed: bool) -> None:
    shown = whole(passed)
    lines = printed(terminal(shown), 80)
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
    for row in key_figures(shown):
        assert any(row.what in line and row.figure in line for line in lines)
        for phrase in row.context:
            assert any(phrase in line for line in lines), phrase
    for gate in shown.gates:
        (line,) = [line for line in lines if gate.title in line]
        assert ("ok" if gate.passed else "FAILED") in line and ("at least" in line or "at most" in line)


def test_a_comparison_is_not_broken_either() -> None:
    other = run(machine=Machine(name="n", cpu="c", cores=2, memory_gib=4, system="s"), latency=SLOW)
    compared = compare.compare(whole(True), report(other, latency=SLOW, model="fashion_mobilenet"))
    for width in (80, 300):
        lines = printed(compare.terminal(compared), width)
        assert not any("…" in line for line in lines)
        assert {f"A: {compared.first}", f"B: {compared.second}"} <= {line.strip() for line in lines}
        for row in compared.rows:
            (line,) = [line for line in lines if line.startswith(row.name)]
            assert row.first in line and row.second in line and line.rstrip().endswith(row.change)


@given(st.lists(st.text("abc ,", min_size=1).map(str.strip).filter(bool)), st.integers(1, 60))
def test_phrases_lose_nothing(phrases: list[str], width: int) -> None:
    lines = printed(Phrases(phrases), 1000)
    assert " ".join(lines) == " ".join(phrases)
    narrow = [line.rstrip() for line in printed(Phrases(phrases), max([width, *map(len, phrases)]))]
    assert " ".join(narrow) == " ".join(phrases)
    assert all(any(phrase in line for line in narrow) for phrase in phrases)
