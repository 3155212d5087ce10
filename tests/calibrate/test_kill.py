"""A run killed at any moment goes on and ends with the bytes of one that was left alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.workspace import sha256

CHILD = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.calibrate.conftest import seeded_convnet
from calibrate import run
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
config = BuildConfig.read(Path(sys.argv[1]))
run.run(Workspace.open(Path(sys.argv[2])), config, seeded_convnet(), Progress(quiet=True))
"""


def start(config: Path, folder: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    return subprocess.Popen([sys.executable, "-c", CHILD, str(config), str(folder), root], cwd=root)


def set_hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted((folder / "calibration").rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_killed_at_several_moments(tmp_path: Path, make_config: Callable[..., BuildConfig]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(make_config(images=24, batch_size=2, steps=3).to_yaml())
    assert start(config, tmp_path / "whole").wait() == 0
    whole = set_hashes(tmp_path / "whole")
    pieces, deaths = tmp_path / "pieces", 0
    for images_on_disk in (1, 6, 13, 27):
        child = start(config, pieces)
        while child.poll() is None and len(list(pieces.glob("calibration/images/0*.png"))) < images_on_disk:
            time.sleep(0.005)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            deaths += 1
        child.wait()
    assert deaths == 4
    assert start(config, pieces).wait() == 0
    assert set_hashes(pieces) == whole
