"""Collect what the documentation site is made of: every page of the repository, and the files that pages link to.

    python -m tools.docs_site && mkdocs build --strict

Pages keep their places, so that the links that work on a code host work on the site. A notebook becomes a page
beside it.
"""

import argparse
import re
import shutil
import subprocess
from pathlib import Path

from tools.notebook_page import markdown_of, page_of

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\(([^)#\s]+)")


def main() -> None:
    """Copy them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs")
    collect(ROOT, parser.parse_args().out)


def collect(root: Path, out: Path) -> list[Path]:
    """Copy the pages of a repository, and what they link to, into a folder that is made anew; returns the pages.

    Raises:
        FileNotFoundError: where a link leads nowhere, or to a folder.
    """
    shutil.rmtree(out, ignore_errors=True)
    pages = pages_of(root)
    for path in dict.fromkeys([*pages, *(linked for page in pages for linked in links_of(page, root))]):
        place = out / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":  # a link to a notebook leads to its page
            place.write_text(re.sub(r"(\]\([^):]+)\.ipynb\)", r"\1.md)", path.read_text()))
        else:
            shutil.copyfile(path, place)
        if path.suffix == ".ipynb":
            place.with_suffix(".md").write_text(page_of(path))
    return pages


def pages_of(root: Path) -> list[Path]:
    """Every Markdown page and every notebook under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md", "*.ipynb"], cwd=root, check=True, capture_output=True, text=True
    )
    return [root / name for name in listed.stdout.split("\0") if name]


def links_of(page: Path, root: Path) -> list[Path]:
    """Files of the repository that a page links to or shows."""
    text = markdown_of(page) if page.suffix == ".ipynb" else page.read_text()
    found = [match for match in _LINK.findall(text) if "://" not in match]
    linked = [(page.parent / target).resolve() for target in found]
    missing = next((path for path in linked if not path.is_file() or not path.is_relative_to(root.resolve())), None)
    if missing is not None:
        raise FileNotFoundError(
            f"{page.relative_to(root)} links to {missing}: a page may link to files of the repository"
        )
    return linked


if __name__ == "__main__":
    main()
