"""A notebook as a page of Markdown, for the site: its text, its code, and what the code showed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def page_of(notebook: Path) -> str:
    """Markdown; pictures are inside it."""
    cells = json.loads(notebook.read_text())["cells"]
    parts = [part for cell in cells for part in _parts(cell)]
    link = f"*This page is a notebook: [{notebook.name}]({notebook.name}).*"
    return "\n\n".join([parts[0], link, *parts[1:]]) + "\n"


def markdown_of(notebook: Path) -> str:
    """The text cells alone."""
    cells = json.loads(notebook.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    said: list[str] = []  # lines that follow each other are one block
    for output in cell["outputs"]:
        shown = _shown(output)
        if shown is None:
            said.append(_text(output))
            continue
        yield from _block(said)
        said.clear()
        yield shown
    yield from _block(said)


def _shown(output: dict[str, Any]) -> str | None:
    """A picture, or HTML of more than one line of text; None for lines."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="output" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    html = "".join(data.get("text/html", ""))
    return "\n".join(line for line in html.splitlines() if line.strip()) if html.startswith("<div") else None


def _text(output: dict[str, Any]) -> str:
    return "".join(output.get("text", output.get("data", {}).get("text/plain", ""))).rstrip("\n")


def _block(lines: list[str]) -> Iterator[str]:
    if lines:
        yield "```text\n" + "\n".join(lines) + "\n```"
