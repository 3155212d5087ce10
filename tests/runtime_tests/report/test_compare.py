"""Two builds are compared with chance and noise in mind."""

from runtime_tests.report import compare
from runtime_tests.verify.results import Machine
from tests.runtime_tests.measured import report, run, score


def test_compare_says_what_changed_beyond_chance() -> None:
    better = run(accuracy={"float": score(0.93), "reference": score(0.925), "onnxruntime": score(0.90)})
    rows = {row.name: row for row in compare.compare(report(run()), report(better, passed=False)).rows}
    assert rows["top-1, deployed"].better == 1
    assert rows["top-1, float"].better is None and rows["top-1, float"].change == "0.00 points"
    assert rows["verdict"].better == 1
    close = run(accuracy={"float": score(0.93), "onnxruntime": score(0.921)})
    row = next(r for r in compare.compare(report(run()), report(close)).rows if r.name == "top-1, deployed")
    assert row.better is None and "within chance" in row.change


def test_compare_notes_what_cannot_be_compared() -> None:
    elsewhere = run(machine=Machine(name="n", cpu="c", cores=2, memory_gib=4, system="s"))
    notes = compare.compare(report(run()), report(elsewhere, model="other")).notes
    assert any("networks differ" in note for note in notes)
    assert any("different machines" in note for note in notes)
