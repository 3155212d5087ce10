"""Environments of their own, for programs that do not live beside ours."""

import subprocess
import sys
from pathlib import Path


def own_python(place: Path, *requirements: str | Path) -> Path:
    """Python of a new environment in a folder, with what `pip` installs from the package index."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    return python
