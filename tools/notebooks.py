"""Run the notebooks of the documentation and keep what they show.

    python -m tools.notebooks                 # all of docs/notebooks, in place
    python -m tools.notebooks docs/notebooks/classifier.ipynb

Each runs in an empty folder. What differs from machine to machine (times of cells, names of temporary folders) is not
kept, so that a notebook changes where its content does.
"""

import argparse
import os
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "notebooks"
_TIMEOUT = 1800  # seconds a cell may take where other programs run beside
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main() -> None:
    """Run them and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path)
    for place in parser.parse_args().notebooks or sorted(FOLDER.glob("*.ipynb")):
        started = time.perf_counter()
        executed = run(place)
        import nbformat

        nbformat.write(cleaned(executed), place)  # type: ignore[no-untyped-call]
        print(f"{place}: {time.perf_counter() - started:.0f} s, {place.stat().st_size:,} bytes")


def run(place: Path) -> Any:
    """Run a notebook in an empty folder, and return it with its outputs; the file stays as it is.

    Raises:
        nbclient.exceptions.CellExecutionError: where a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(place, as_version=4)  # type: ignore[no-untyped-call]
    with TemporaryDirectory() as folder:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        client = NotebookClient(
            notebook, timeout=_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute(env=os.environ | {"PYTHONPATH": path})
    return notebook


def cleaned(notebook: Any) -> Any:
    """The notebook without what belongs to one run."""
    notebook.metadata = {"kernelspec": _KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        for output in cell.get("outputs", ()):
            _clean(output)
    return notebook


def _clean(output: Any) -> None:
    if "text" in output:
        output.text = _without_places(output.text)
    for kind, content in output.get("data", {}).items():
        if isinstance(content, str) and kind.startswith("text/"):
            output.data[kind] = _without_places(content)


def _without_places(text: str) -> str:
    return re.sub(rf"{re.escape(gettempdir())}/[\w.-]+", "/tmp/…", text)


if __name__ == "__main__":
    main()
