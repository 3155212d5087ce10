"""What people import: the names stay, each is there and documented, and its types come along."""

from pathlib import Path

import genq_export

ROOT = Path(__file__).resolve().parents[1]
# A name leaves only as docs/api.md says: one minor release after it has begun to warn.
PUBLIC = {"BuildConfig", "UserError", "build", "load", "quantize"}


def test_the_public_names_stay() -> None:
    assert set(genq_export.__all__) == set(dir(genq_export)) == PUBLIC


def test_each_is_there_with_a_docstring_and_on_the_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    for name in PUBLIC:
        assert getattr(genq_export, name).__doc__ and f"\n## {name}\n" in page


def test_the_package_has_types() -> None:
    assert (ROOT / "genq_export" / "py.typed").is_file()
    assert 'genq_export = ["py.typed"' in (ROOT / "pyproject.toml").read_text()
