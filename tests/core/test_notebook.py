"""What a person sees below a cell: no control characters, a bar that is drawn in place, a line when it is done."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from genq_export.core.notebook import in_notebook
from genq_export.core.progress import Progress


class Display:
    """A front end that remembers."""

    def __init__(self) -> None:
        self.shown: list[list[dict[str, str]]] = []

    def display(self, drawing: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw and display_id
        self.shown.append([drawing])
        return SimpleNamespace(update=lambda later, raw: self.shown[-1].append(later))


@pytest.fixture
def front_end(monkeypatch: pytest.MonkeyPatch) -> Display:
    found = Display()
    shell = SimpleNamespace(kernel=object())
    place = SimpleNamespace(display=found.display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=place))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", place)  # type: ignore[arg-type]
    return found


def test_a_bar_is_one_output_that_ends_as_a_line(front_end: Display, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("loading \x1b[31m<net>")
    assert list(progress.track("ab", 2, "blocks <1>")) == ["a", "b"]
    (drawings,) = front_end.shown
    assert drawings[0]["text/html"].startswith('<progress value="0" max="2">')
    assert (
        drawings[-1]["text/plain"].startswith("blocks <1>: 2 of 2, ") and "<progress" not in drawings[-1]["text/html"]
    )
    assert all("&lt;1&gt;" in drawing["text/html"] for drawing in drawings)
    out, err = capsys.readouterr()
    assert (out, err) == ("loading \\x1b[31m<net>\n", "")


def test_quiet_is_quiet_there_too(front_end: Display, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.say("loading")
    assert list(progress.track("ab", 2, "blocks")) == ["a", "b"]
    assert front_end.shown == [] and capsys.readouterr() == ("", "")


def test_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))  # type: ignore[arg-type]
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
