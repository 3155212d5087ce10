"""Text of anybody's on a terminal: it steers nothing, marks nothing, and can be read."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from genq_export.core.progress import Progress
from genq_export.core.terminal import PlainConsole, one_line, printable

STEERING = {
    "escape": "\x1b[2J", "bell": "\a", "back": "\b", "return": "\r", "NUL": "\0", "delete": "\x7f", "C1": "\x9b2J",
    "right to left": "\u202e", "isolate": "\u2066", "half a pair": "\udcff", "line": "\u2028", "paragraph": "\u2029",
    "feed": "\f", "next line": "\x85",
}  # fmt: skip


@pytest.mark.parametrize("sign", STEERING.values(), ids=list(STEERING))
def test_what_steers_a_terminal_is_shown_instead(sign: str) -> None:
    assert printable(f"a{sign}b").startswith("a\\") and printable(f"a{sign}b").isascii()
    assert "\n" not in one_line(f"a{sign}b")


@pytest.mark.parametrize("text", ["ein Bild", "日本", "👩‍🔬", "नमस्‌ते", "a\\b", "[red]x[/]", "²"])
def test_words_stay_as_they_are(text: str) -> None:
    assert printable(text) == one_line(text) == text


@given(st.text())
def test_a_line_is_one_line_that_can_be_encoded(text: str) -> None:
    line = one_line(text)
    line.encode()
    assert len(line.splitlines()) <= 1 and len(line) <= 900
    assert not {unicodedata.category(sign) for sign in line} & {"Cc", "Cs", "Zl", "Zp"}


def test_a_long_line_keeps_both_ends() -> None:
    line = one_line("what " + "x" * 5000 + " the remedy")
    assert line.startswith("what x") and line.endswith("x the remedy") and "…" in line


def _shown(content: object, width: int = 80) -> str:
    console = PlainConsole(width=width)
    console.file = io.StringIO()
    console.print(content)
    return str(console.file.getvalue())


@pytest.mark.parametrize(
    "text", ["[/bold]x", "x[red]y", ":smile:", "[link=http://a]b[/link]", "a\x1b[2Jb", "[@click=x]"]
)
def test_a_table_shows_what_it_holds(text: str) -> None:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    table.add_row(Text(text))
    assert _shown(table).count(printable(text)) == 5
    assert "\x1b" not in _shown(table) and _shown(text) == f"{printable(text)}\n"


def test_progress_says_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("class '[/red]\x1b[31m' ran dry")
    assert list(progress.track([1, 2], 2, "[/bold] \x1b[2J")) == [1, 2]
    said = capsys.readouterr().err
    assert r"class '[/red]\x1b[31m' ran dry" in said and "\x1b" not in said
