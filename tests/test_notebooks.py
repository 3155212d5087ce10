"""The notebooks of the documentation: small, with what they show, and they run."""

import re
import resource
from pathlib import Path
from typing import Any

import pytest

from tools.notebooks import FOLDER, cleaned, run

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_LARGEST = 500_000  # bytes
_SECONDS = 3 * 60 * 2  # of two cores


def read(place: Path) -> Any:
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(place, as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def texts(notebook: Any) -> str:
    found = [output.get("text", "") for output in outputs(notebook)]
    found += [text for output in outputs(notebook) for kind, text in output.get("data", {}).items() if "text" in kind]
    return "\n".join(found)


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["classifier", "detector", "your-own-module"]


@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda place: place.stem)
def test_a_notebook_shows_what_it_gives_and_nothing_of_where_it_ran(place: Path) -> None:
    notebook = read(place)
    assert place.stat().st_size < _LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs and cell.execution_count for cell in code)
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]
    shown = texts(notebook)
    assert "Passed" in shown and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]|/home/|/root/|site-packages", shown)
    assert cleaned(read(place)) == notebook, "run `python -m tools.notebooks`"


@pytest.mark.slow
@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda place: place.stem)
def test_a_notebook_runs_in_three_minutes_of_two_cores(place: Path) -> None:
    """Counted in the processor's time, as other programs may run beside."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    executed = run(place)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < _SECONDS
    assert "Passed" in texts(executed)
