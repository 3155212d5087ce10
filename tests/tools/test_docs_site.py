"""The documentation site: every page is in it, what pages link to lies beside them, and it builds without a warning."""

import json
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.docs_site import collect, links_of
from tools.notebook_page import page_of

ROOT = Path(__file__).resolve().parents[2]


def pages_in(nav: Any) -> Iterator[str]:
    """The pages that a navigation names, at any depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav if isinstance(nav, list) else nav.values():
            yield from pages_in(entry)


def test_every_page_is_collected_with_what_it_links_to_and_has_a_place(tmp_path: Path) -> None:
    pages = [str(page.relative_to(ROOT)) for page in collect(ROOT, tmp_path / "site")]
    made = [str(Path(page).with_suffix(".md")) for page in pages]
    named = list(pages_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(named) == sorted(made)
    assert all((tmp_path / "site" / page).is_file() for page in made)
    for page in pages:
        for linked in links_of(ROOT / page, ROOT):
            assert (tmp_path / "site" / linked.relative_to(ROOT)).is_file()


def test_a_link_to_what_is_no_file_of_the_repository_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for target in ("nothing.md", ".", "../beyond.md"):
        page.write_text(f"see [there]({target})")
        with pytest.raises(FileNotFoundError, match=r"page\.md links to"):
            links_of(page, tmp_path)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """In an environment of its own: mkdocs is no part of what tests need."""
    venv.create(tmp_path / "env", with_pip=True)
    wanted = ("mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2")
    subprocess.run([tmp_path / "env/bin/pip", "install", "-q", *wanted], check=True)
    subprocess.run([sys.executable, "-m", "tools.docs_site"], cwd=ROOT, check=True)
    command = [tmp_path / "env/bin/mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1"})
    assert made.returncode == 0 and "WARNING" not in made.stderr, made.stderr
    assert (tmp_path / "site/docs/index.html").is_file() and (tmp_path / "site/search/search_index.json").is_file()
    assert "https://" not in "".join(
        re.findall(r"<(?:script|link)[^>]*>", (tmp_path / "site/docs/index.html").read_text())
    )


def test_a_notebook_becomes_a_page_and_links_lead_there(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["a line\n"]},
        {"output_type": "display_data", "data": {"text/plain": ["blocks: 2 of 2"], "text/html": ["<code>…</code>"]}},
        {"output_type": "execute_result", "data": {"text/html": ["<div>\n\n<b>Passed</b></div>"], "text/plain": ["x"]}},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=\n"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": outputs},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    page = page_of(tmp_path / "n.ipynb")
    assert page.startswith("# Title\ntext\n\n*This page is a notebook: [n.ipynb](n.ipynb).*\n\n```python\n1 + 1\n```\n")
    assert "```text\na line\nblocks: 2 of 2\n```" in page and "<div>\n<b>Passed</b></div>" in page
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in page
    collect(ROOT, tmp_path / "site")
    assert "(notebooks/classifier.md)" in (tmp_path / "site/docs/index.md").read_text()
