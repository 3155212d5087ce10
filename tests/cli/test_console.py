"""What is printed is as wide as the terminal, or as its content where there is none."""

import re

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

from genq_export.cli.console import show


def table() -> Table:
    made = Table("layer", "why", title="a table", title_justify="left")
    made.add_row("conv1", "because " * 30 + "n = 10,000")
    return made


@pytest.mark.parametrize("columns", ["40", "80", ""])
def test_no_line_is_broken_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show(Group(Text("one sentence " * 20), table()))
    lines = capsys.readouterr().out.splitlines()
    assert ("one sentence " * 20).strip() in lines[0]
    assert any("n = 10,000" in line and "conv1" in line for line in lines)


def test_a_terminal_is_not_overrun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show(table())
    lines = re.sub("\x1b[^m]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) == 60
