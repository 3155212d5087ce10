"""The report as it is printed at the end of a build."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runtime_tests.report.model import Report
from runtime_tests.report.render.formatting import gate_value, title
from runtime_tests.report.render.key_figures import key_figures
from runtime_tests.report.render.phrases import Phrases


def terminal(report: Report) -> Group:
    """Verdict, key figures and gates; every row of a table whose width allows it is one line."""
    style = "bold green" if report.passed else "bold red"
    head = Text.assemble(("passed  " if report.passed else "failed  ", style), (title(report), "bold"))
    parts: list[RenderableType] = [
        *([Text(report.heading, "bold yellow")] if report.heading else []),
        head,
        Text(report.verdict),
        Padding(_figures(report), (1, 0, 1, 2), expand=False),
        _conditions(report),
    ]
    parts += [Text(f"note: {note}", "dim") for note in report.run.notes]
    return Group(*parts)


def _figures(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for row in key_figures(report):
        table.add_row(Text(row.what, "dim"), Text(row.figure), Phrases(row.context, "dim"))
    return table


def _conditions(report: Report) -> Table:
    # With the longest title and figures this takes all of 80 columns.
    table = Table.grid(padding=(0, 1))
    for _ in range(4):
        table.add_column(no_wrap=True)
    for gate in report.gates:
        mark = Text("ok", "green") if gate.passed else Text("FAILED", "bold red")
        bound = f"{'at least' if gate.at_least else 'at most'} {gate_value(gate, gate.threshold)}"
        table.add_row(mark, Text(gate.title), Text(gate_value(gate, gate.value)), Text(bound, "dim"))
    return table
