"""`--part N/OF`: a fixed share of the tests, told apart by their ids; what passed before on this very code is skipped.

So a long run can be cut into pieces, and a piece that was interrupted goes on where it stopped. "This very code" is
every file of the working tree and every installed package.
"""

import hashlib
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.tree_state import tree_state

PASSED = "genq-export/passed"


class Share(NamedTuple):
    """The part `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read `3/8`. Raises UsageError for anything else."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise pytest.UsageError(f"--part {text}: a part is written like 3/8")
        return cls(int(number), int(of))

    def holds(self, test: str) -> bool:
        """Does a test, named by its id, belong to this part?"""
        return int.from_bytes(hashlib.sha256(test.encode()).digest()[:8]) % self.of == self.number - 1


class Part:
    """The plugin that leaves out the tests of other parts and remembers those that passed."""

    def __init__(self, share: Share, config: pytest.Config) -> None:
        self._share, self._cache = share, config.cache
        self._state = code_state(config.rootpath)
        stored = self._cache.get(PASSED, {}) if self._cache else {}
        self._passed = set(stored["tests"]) if stored.get("state") == self._state else set()
        self._line = ""

    @pytest.hookimpl(trylast=True)  # behind -m and -k
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests of this part, and skip those that passed before."""
        others = [item for item in items if not self._share.holds(item.nodeid)]
        items[:] = [item for item in items if self._share.holds(item.nodeid)]
        config.hook.pytest_deselected(items=others)
        before = [item for item in items if item.nodeid in self._passed]
        for item in before:
            item.add_marker(pytest.mark.skip(reason="passed before on this code"))
        self._line = f"part {self._share.number} of {self._share.of}: {len(items)} tests, {len(before)} passed before"

    def pytest_report_collectionfinish(self) -> str:
        """Say what is left to do."""
        return self._line

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a test that passed, at once: the run may be killed."""
        if report.when == "call" and report.passed and self._cache and self._state:
            self._passed.add(report.nodeid)
            self._cache.set(PASSED, {"state": self._state, "tests": sorted(self._passed)})


def code_state(root: Path) -> str | None:
    """Hash everything that could change a result; None where git does not know the folder."""
    try:
        files = tree_state(root)
    except (OSError, subprocess.CalledProcessError):
        return None
    packages = sorted(f"{item.metadata['Name']} {item.version}" for item in distributions())
    return hashlib.sha256("\n".join([files, *packages]).encode()).hexdigest()
