"""The check of a build on emulated ARM64, where Debian's packages can be had."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "edge" / "arm64.sh"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no Debian")
def test_codes_are_the_integer_models_on_arm64(build: Path) -> None:
    done = subprocess.run([SCRIPT, build], capture_output=True, text=True, timeout=1800)
    if "Unable to locate" in done.stderr or "Could not resolve" in done.stderr:
        pytest.skip("Debian's packages cannot be had")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(": same codes: " in line for line in lines)


def test_a_folder_without_a_check_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr
