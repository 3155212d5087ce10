"""Two builds side by side: what changed in each figure, and whether accuracy changed by more than chance."""

import math
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from runtime_tests.report.model import Report, read_report
from runtime_tests.report.render.formatting import (
    DASH,
    MINUS,
    TIMES,
    byte_size,
    milliseconds,
    percent,
    signed,
    title,
)
from runtime_tests.verify import gates
from runtime_tests.verify.label_figures import labelled
from runtime_tests.verify.metrics import Z_95
from runtime_tests.verify.results import FLOAT, Frozen, Score, Verification


class Difference(Frozen):
    """One figure of both builds. better: which build is better, None where that is open or nothing changed."""

    name: str
    first: str
    second: str
    change: str = ""
    better: int | None = None


class Comparison(Frozen):
    """Two reports, figure by figure; notes say what makes the two hard to compare."""

    first: str
    second: str
    rows: tuple[Difference, ...]
    layers: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare_builds(first: Path, second: Path) -> Comparison:
    """Compare two build folders. Raises UserError where one has no report."""
    return compare(read_report(first), read_report(second))


def compare(first: Report, second: Report) -> Comparison:
    """Compare two reports."""
    return Comparison(
        first=_headed(first),
        second=_headed(second),
        rows=tuple(row for row in (_passed(first, second), *_figures(first, second)) if row is not None),
        layers=_layers(first, second),
        notes=tuple(_notes(first, second)),
    )


def _headed(report: Report) -> str:
    """A build's name, and who says what stands below it where this machine does not."""
    return title(report) + (f" ({report.heading[0].lower()}{report.heading[1:]})" if report.heading else "")


def _passed(first: Report, second: Report) -> Difference:
    words = ["passed" if report.passed else "failed" for report in (first, second)]
    better = None if first.passed == second.passed else (1 if first.passed else 2)
    return Difference(name="verdict", first=words[0], second=words[1], better=better)


def _figures(first: Report, second: Report) -> list[Difference | None]:
    a, b = first.run, second.run
    deployed = [report.accuracy.get(report.run.deployed) for report in (first, second)]
    speed = [report.latency.speedup if report.latency is not None else None for report in (first, second)]
    size = [report.size.deployed_bytes if report.size is not None else None for report in (first, second)]
    return [
        _accuracy("top-1, float", first.accuracy.get("float"), second.accuracy.get("float")),
        _accuracy("top-1, deployed", *deployed),
        *_against_labels(a, b),
        _number("accuracy loss, points", gates.accuracy_loss(a), gates.accuracy_loss(b), "{:.2f}", lower=True),
        _share("agreement with the reference", gates.deployed_agreement(a), gates.deployed_agreement(b)),
        _share("codes equal to the oracle's", _match(first), _match(second)),
        _time("deployed, median", first, second),
        _number("speed-up", speed[0], speed[1], "{:.2f}"),
        _bytes("deployed size", size[0], size[1]),
    ]


def _against_labels(first: Verification, second: Verification) -> Iterator[Difference | None]:
    """The figure that matters most against labelled boxes or masks, of float and of the deployed file."""
    for name, backends in (("float", (FLOAT, FLOAT)), ("deployed", (first.deployed, second.deployed))):
        found = [labelled(run, backend) for run, backend in zip((first, second), backends, strict=True)]
        title = next((item.title for item in found if item is not None), "")
        values = [None if item is None else item.value for item in found]
        yield _share(f"{title}, {name}", values[0], values[1])


def _match(report: Report) -> float | None:
    fidelity = gates.deployed_fidelity(report.run)
    return None if fidelity is None else fidelity.match


def _accuracy(name: str, first: Score | None, second: Score | None) -> Difference | None:
    """Two proportions; the images need not be the same, so the unpaired z-test speaks."""
    if first is None or second is None:
        shares = [score.top1 if score is not None else None for score in (first, second)]
        return _number(name, shares[0], shares[1], "{:.4f}")
    change = 100 * (second.top1 - first.top1)
    certain = differ(first, second)
    return Difference(
        name=name,
        first=percent(first.top1),
        second=percent(second.top1),
        change=f"{signed(change, 2)} points" + ("" if certain or change == 0 else " (within chance)"),
        better=(2 if change > 0 else 1) if certain else None,
    )


def differ(first: Score, second: Score) -> bool:
    """Do two proportions differ at 95 %? `|p₁ − p₂| > z·sqrt(p(1−p)(1/n₁ + 1/n₂))`, p over both (pooled z-test)."""
    pooled = (first.top1 * first.n + second.top1 * second.n) / (first.n + second.n)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / first.n + 1 / second.n))
    return abs(first.top1 - second.top1) > Z_95 * spread


def _share(name: str, first: float | None, second: float | None) -> Difference | None:
    if first is None and second is None:
        return None
    shown = [percent(value, 4) if value is not None else DASH for value in (first, second)]
    better = None if first is None or second is None or first == second else (2 if second > first else 1)
    return Difference(name=name, first=shown[0], second=shown[1], better=better)


def _number(name: str, first: float | None, second: float | None, form: str, lower: bool = False) -> Difference | None:
    if first is None and second is None:
        return None
    shown = [form.format(value) if value is not None else DASH for value in (first, second)]
    if first is None or second is None:
        return Difference(name=name, first=shown[0], second=shown[1])
    better = None if first == second else (2 if (second < first) == lower else 1)
    return Difference(name=name, first=shown[0], second=shown[1], change=signed(second - first, 2), better=better)


def _time(name: str, first: Report, second: Report) -> Difference | None:
    a, b = first.latency, second.latency
    if a is None and b is None:
        return None
    shown = [milliseconds(item.deployed_ms) if item is not None else DASH for item in (a, b)]
    if a is None or b is None or first.run.machine != second.run.machine:
        return Difference(name=name, first=shown[0], second=shown[1])
    ratio = a.deployed_ms / b.deployed_ms
    certain = abs(ratio - 1) > max(a.noise, b.noise)
    change = f"{ratio:.2f}{TIMES} the speed" if certain else "within noise"
    return Difference(
        name=name, first=shown[0], second=shown[1], change=change, better=(2 if ratio > 1 else 1) if certain else None
    )


def _bytes(name: str, first: int | None, second: int | None) -> Difference | None:
    if first is None or second is None:
        return _number(name, first, second, "{:.0f} bytes")
    change = f"{100 * (second / first - 1):+.1f} %".replace("-", MINUS)
    better = None if first == second else (2 if second < first else 1)
    return Difference(name=name, first=byte_size(first), second=byte_size(second), change=change, better=better)


def _layers(first: Report, second: Report, most: int = 10) -> tuple[Difference, ...]:
    """Activations whose signal to noise changed most, both builds having them."""
    before = {layer.name: layer.sqnr_db for layer in first.run.layers}
    changes = [
        (layer.name, old, layer.sqnr_db)
        for layer in second.run.layers
        if (old := before.get(layer.name)) is not None and layer.sqnr_db is not None
    ]
    changes.sort(key=lambda item: (-abs(item[2] - item[1]), item[0]))
    return tuple(
        Difference(
            name=name,
            first=f"{old:.1f} dB",
            second=f"{new:.1f} dB",
            change=f"{signed(new - old, 1)} dB",
            better=2 if new > old else 1,
        )
        for name, old, new in changes[:most]
        if abs(new - old) >= 0.05
    )


def _notes(first: Report, second: Report) -> list[str]:
    notes = []
    if first.model != second.model:
        notes.append(f"the networks differ: {first.model} and {second.model}")
    if first.target != second.target:
        notes.append(f"the targets differ: {first.target} and {second.target}")
    a, b = first.run.evaluation, second.run.evaluation
    if (a and (a.name, a.n)) != (b and (b.name, b.n)):
        notes.append("accuracy was measured on different images")
    if first.run.machine != second.run.machine:
        names = f"{first.run.machine.name} and {second.run.machine.name}"
        notes.append(f"latency was measured on different machines ({names}): times are not compared")
    return notes


def terminal(comparison: Comparison) -> Group:
    """Tables for the terminal, a row a line."""
    parts: list[Table | Text] = [Text(f"A: {comparison.first}"), Text(f"B: {comparison.second}")]
    parts.append(_table(comparison.rows))
    if comparison.layers:
        parts += [Text("\nsignal to noise of activations, largest changes"), _table(comparison.layers)]
    parts += [Text(f"note: {note}", "dim") for note in comparison.notes]
    return Group(*parts)


def _table(rows: tuple[Difference, ...]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in ("", "A", "B", "change"):
        table.add_column(head, no_wrap=True)
    for row in rows:
        style = ("", "")
        if row.better is not None:
            style = ("green", "") if row.better == 1 else ("", "green")
        table.add_row(Text(row.name, "dim"), Text(row.first, style[0]), Text(row.second, style[1]), row.change)
    return table


def markdown(comparison: Comparison) -> str:
    """A table for a pull request; the better figure is bold."""
    lines = [f"| | A: {comparison.first} | B: {comparison.second} | change |", "|---|---|---|---|"]
    for row in (*comparison.rows, *comparison.layers):
        first = f"**{row.first}**" if row.better == 1 else row.first
        second = f"**{row.second}**" if row.better == 2 else row.second
        lines.append(f"| {row.name} | {first} | {second} | {row.change} |")
    return "\n".join([*lines, "", *(f"> {note}" for note in comparison.notes), ""])
