"""The command line in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run() -> Run:
    def call(
        *arguments: str, cwd: Path | None = None, program: tuple[str, ...] = ("-m", "genq_export"), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *program, *arguments],
            capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | environment,
        )  # fmt: skip

    return call
