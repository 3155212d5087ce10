"""A build folder that tests change."""

from pathlib import Path

import pytest

from genq_export.core.workspace import StageResult, Workspace


@pytest.fixture
def build(tmp_path: Path) -> Workspace:
    opened = Workspace.open(tmp_path / "home" / "build")
    opened.write_bytes("calibration/images/000000.png", b"content")
    opened.record(
        "calibrate", "identity", StageResult(["calibration/images/000000.png"], {"generator": "g", "kept": 1}), 1
    )
    return opened
