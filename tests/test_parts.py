"""Parts share out the tests without gaps, and a part goes on where it stopped."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parts import Share

pytest_plugins = ["pytester"]

CONFTEST = """
from tests.conftest import pytest_addoption, pytest_configure
"""
TESTS = """
import os
import pytest

@pytest.mark.parametrize("number", range(6))
def test_a_number(number):
    assert number != 3 or os.path.exists(os.environ["MENDED"])
"""


@given(st.text(), st.integers(1, 20))
def test_every_test_is_in_one_part(test: str, of: int) -> None:
    assert sum(Share(number, of).holds(test) for number in range(1, of + 1)) == 1


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "a/8", "3/", "-1/8"])
def test_a_part_that_is_none_is_explained(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="3/8"):
        Share.parse(text)


def outcomes(pytester: pytest.Pytester, *arguments: str) -> dict[str, int]:
    return pytester.runpytest_inprocess("-p", "no:randomly", *arguments).parseoutcomes()


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Six tests under git, of which one fails until the file `mended`, which git ignores, exists."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_numbers=TESTS)
    (pytester.path / ".gitignore").write_text("mended\n__pycache__\n.pytest_cache\n")
    monkeypatch.setenv("MENDED", str(pytester.path / "mended"))
    subprocess.run(["git", "init", "--quiet"], cwd=pytester.path, check=True)
    return pytester


def test_a_part_goes_on_where_it_stopped(project: pytest.Pytester) -> None:
    assert outcomes(project, "--part", "1/1") == {"passed": 5, "failed": 1}
    (project.path / "mended").touch()
    assert outcomes(project, "--part", "1/1") == {"passed": 1, "skipped": 5}
    assert outcomes(project, "--part", "1/1") == {"skipped": 6}


def test_a_changed_file_makes_everything_run_again(project: pytest.Pytester) -> None:
    outcomes(project, "--part", "1/1")
    (project.path / "source.py").write_text("changed = True\n")
    assert outcomes(project, "--part", "1/1") == {"passed": 5, "failed": 1}


def test_parts_add_up(project: pytest.Pytester) -> None:
    (project.path / "mended").touch()
    assert sum(outcomes(project, "--part", f"{number}/3").get("passed", 0) for number in (1, 2, 3)) == 6
