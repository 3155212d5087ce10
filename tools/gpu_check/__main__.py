"""`python3 tools/gpu_check` in a checkout, or `python -m tools.gpu_check`, also on a host without network.

It runs on what is installed there. What a host lacks is copied along as wheels: those in `tools/gpu_check/wheels` are
unpacked for the time of the run (docs/gpu.md).
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def unpacked(wheels: Path, folder: Path) -> list[str]:
    """The folder that holds what the wheels hold, where there are any."""
    files = sorted(wheels.glob("*.whl"))
    for file in files:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    return [str(folder)] if files else []


def run() -> int:
    """Put this checkout and the wheels in front of what is installed, here and in processes that are started."""
    with tempfile.TemporaryDirectory() as folder:
        added = [str(ROOT), *unpacked(HERE / "wheels", Path(folder))]
        sys.path[:] = [*added, *(path for path in sys.path if Path(path or ".").resolve() != HERE)]
        given = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*added, *([given] if given else [])])
        from tools.gpu_check.check import main

        return main()


if __name__ == "__main__":
    sys.exit(run())
