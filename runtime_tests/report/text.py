"""The report as plain words: terminal, Markdown for a pull request, CSV by layer."""

import csv
import io
import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from genq_export.targets import title_of
from runtime_tests.report.assemble import Report
from runtime_tests.verify import gates
from runtime_tests.verify.gates import Gate

TIMES, MINUS, DASH = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
_NEARLY_ALL = 0.999
_CSV_COLUMNS = [
    *("name", "kind", "op", "bits", "weight_shape", "integer", "detail"),
    *("sqnr_db", "own_sqnr_db", "cosine", "clipped", "codes", "differing", "own", "largest", "kl"),
]


def percent(share: float | None, digits: int = 2) -> str:
    """0.9271 -> "92.71 %", never rounding up to 100 what is not 100."""
    if share is None:
        return "not measured"
    shown = f"{100 * share:.{digits}f}"
    if share < 1 and float(shown) == 100:
        return f"> {100 - 10**-digits:.{digits}f} %"
    return f"{shown} %"


def milliseconds(value: float) -> str:
    """Three significant digits: 0.312 ms, 4.21 ms, 81.8 ms."""
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def byte_size(count: int) -> str:
    """1234567 -> "1.23 MB" (decimal, as disks and downloads count)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}" if count < 10 * size else f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def signed(value: float, digits: int) -> str:
    """`+1.25`, `−0.40` with a true minus; zero without a sign."""
    shown = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(shown) == 0 else shown.replace("-", MINUS)


def chance(p: float) -> str:
    """A p-value with its sign: `= 0.032`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def plural(count: int, noun: str) -> str:
    """`1 thread`, `2 threads`"""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def title(report: Report) -> str:
    """`fashion_resnet, W4A4, ONNX Runtime`"""
    return f"{report.model}, {report.bits.name}, {title_of(report.target)}"


def gate_value(gate: Gate, value: float | None) -> str:
    """A gate's figure in its own unit."""
    if value is None:
        return "not measured"
    if gate.name == "accuracy_loss":
        return f"{value:.2f} points".replace("-", MINUS)
    if gate.name == "constants":
        return f"{value:.0f}"
    if gate.name == "speedup":
        return f"{value:.2f}{TIMES}"
    # Two digits are enough for most; a code match of 99.9999 % needs more.
    digits = next((digits for digits in (2, 4) if math.isclose(round(100 * value, digits), 100 * value)), 6)
    digits = digits if value > _NEARLY_ALL else 2
    return percent(value, digits if gate.name == "code_match" else 2)


def key_rows(report: Report) -> list[tuple[str, str, str]]:
    """(what, figure, context) of the four questions people ask first."""
    rows = []
    run = report.run
    for name, score in report.accuracy.items():
        interval = f"95 % interval {100 * score.low:.2f} to {100 * score.high:.2f}, n = {score.n}"
        rows.append((f"top-1 {name}", percent(score.top1), interval))
    loss = gates.accuracy_loss(run)
    if loss is not None:
        significance = f"McNemar p {chance(run.cost.p_value)}" if run.cost is not None else ""
        rows.append(("accuracy loss", f"{loss:.2f} points".replace("-", MINUS), significance))
    value = gates.deployed_agreement(run)
    if value is not None:
        rows.append(("agreement with reference", percent(value), run.deployed))
    fidelity = gates.deployed_fidelity(run)
    if fidelity is not None:
        context = f"of {fidelity.codes:,} on {fidelity.images} images, against the {fidelity.against}"
        rows.append(("differing codes", f"{fidelity.differing:,}", context))
    if report.latency is not None:
        latency = report.latency
        pace = f"{milliseconds(latency.deployed_ms)} against {milliseconds(latency.float_ms)} ({latency.float_runtime})"
        if not latency.significant:
            pace += f", within the noise of {percent(latency.noise, 1)}"
        rows.append(
            (
                "speed-up",
                f"{latency.speedup:.2f}{TIMES}" if latency.significant else "none",
                f"{pace}, {plural(latency.threads, 'thread')}, batch {latency.batch}",
            )
        )
    else:
        rows.append(("speed-up", "not measured", ""))
    if report.size is not None:
        ratio = report.size.float_bytes / report.size.deployed_bytes
        sizes = f"{byte_size(report.size.float_bytes)} to {byte_size(report.size.deployed_bytes)}"
        rows.append(("size", f"{ratio:.1f}{TIMES} smaller", sizes))
    return rows


def terminal(report: Report) -> Group:
    """What is printed at the end of a build."""
    style = "bold green" if report.passed else "bold red"
    head = Text.assemble(("passed  " if report.passed else "failed  ", style), (title(report), "bold"))
    figures = Table.grid(padding=(0, 2))
    for what, figure, context in key_rows(report):
        figures.add_row(Text(what, "dim"), Text(figure), Text(context, "dim"))
    conditions = Table.grid(padding=(0, 2))
    for gate in report.gates:
        mark = Text("ok", "green") if gate.passed else Text("FAILED", "bold red")
        bound = f"{'at least' if gate.at_least else 'at most'} {gate_value(gate, gate.threshold)}"
        conditions.add_row(mark, Text(gate.title), Text(gate_value(gate, gate.value)), Text(bound, "dim"))
    parts: list[RenderableType] = [
        head,
        Text(report.verdict),
        Padding(figures, (1, 0, 1, 2)),
        Padding(conditions, (0, 2)),
    ]
    parts += [Text(f"note: {note}", "dim") for note in report.run.notes]
    return Group(*parts)


def markdown(report: Report) -> str:
    """A summary for a pull request."""
    lines = [
        f"### {'Passed' if report.passed else 'FAILED'}: {title(report)}",
        "",
        report.verdict,
        "",
        "| | | |",
        "|---|---|---|",
        *(f"| {what} | **{figure}** | {context} |" for what, figure, context in key_rows(report)),
        "",
        "| condition | measured | threshold | |",
        "|---|---|---|---|",
    ]
    for gate in report.gates:
        bound = f"{'≥' if gate.at_least else '≤'} {gate_value(gate, gate.threshold)}"
        outcome = "ok" if gate.passed else "**failed**"
        lines.append(f"| {gate.title} | {gate_value(gate, gate.value)} | {bound} | {outcome} |")
    lines += ["", *(f"> {note}" for note in report.run.notes), "", f"`{report.command}`", ""]
    return "\n".join(lines)


def layers_csv(report: Report) -> str:
    """One row a quantized layer (kind `layer`) and one an activation quantizer (kind `activation`)."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    weights = {item.name: item for item in report.run.weights}
    costs = {item.name: item.kl for item in report.sensitivity}
    for layer in report.layers:
        weight = weights.get(layer.name)
        writer.writerow(
            {
                "name": layer.name,
                "kind": "layer",
                "op": layer.op,
                "bits": _cell(layer.weight_bits),
                "weight_shape": "x".join(str(size) for size in layer.weight_shape),
                "integer": _cell(layer.integer),
                "detail": layer.detail,
                "sqnr_db": _cell(weight.sqnr_db if weight is not None else None),
                "kl": _cell(costs.get(layer.name)),
            }
        )
    fidelity = gates.deployed_fidelity(report.run)
    codes = {item.name: item for item in fidelity.quantizers} if fidelity is not None else {}
    quality = {item.name: item for item in report.run.layers}
    for name in [*quality, *(name for name in codes if name not in quality)]:
        row: dict[str, str | float | int] = {"name": name, "kind": "activation"}
        if name in quality:
            item = quality[name]
            row |= {"sqnr_db": _cell(item.sqnr_db), "own_sqnr_db": _cell(item.own_sqnr_db)}
            row |= {"cosine": round(item.cosine, 6), "clipped": round(item.clipped, 6)}
        if name in codes:
            counted = codes[name]
            row |= {"codes": counted.codes, "differing": counted.differing}
            row |= {"own": counted.own, "largest": counted.largest}
        writer.writerow(row)
    return out.getvalue()


def _cell(value: object) -> str:
    return "" if value is None else str(value)
