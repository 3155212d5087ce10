"""The documentation site: every page is in it, what pages link to lies beside them, and it builds without a warning."""

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
    named = list(pages_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(named) == sorted(pages)
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
