"""Killed right before each thing that a stage does to its folder: every file whole, and the same bytes in the end.

Drawing, quantizing and exporting are killed in tests/calibrate/test_kill.py and tests/pipeline/test_build.py.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genq_export.core.workspace import Workspace, sha256
from runtime_tests.verify.verify_file import read_verification
from tests.robustness.report_kills import hashes, kill_the_report
from tests.robustness.small_build import export_small
from tests.robustness.tamper_table import make_folder


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_report_is_killed_at_its_changes_and_ends_with_the_same_bytes(tmp_path: Path, every: int) -> None:
    kills = kill_the_report(make_folder(tmp_path / "stale" / "build").folder, tmp_path, every)
    assert len(kills) > 20 // every
    assert not [kill for kill in kills if not kill.same_bytes]


# Verify: a child of its own, since it starts processes itself.

_VERIFY = """
import sys
from pathlib import Path
from tests.robustness.killed import die, watch
folder, event, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if event == "subprocess.Popen":
    sys.addaudithook(lambda seen, _: die() if seen == event else None)
else:
    watch(folder, lambda seen, what: die() if (seen, what) == (event, name) else None)
from genq_export.core.progress import Progress
from genq_export.pipeline.reverify import reverify
reverify(folder, Progress(quiet=True))
"""


def verify(folder: Path, event: str = "", name: str = "") -> int:
    root = str(Path(__file__).parents[2])
    return subprocess.run([sys.executable, "-c", _VERIFY, str(folder), event, name], cwd=root).returncode


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize(
    ("event", "name"),
    [
        pytest.param("subprocess.Popen", "", marks=pytest.mark.slow),
        pytest.param("open", ".verify.json.part", marks=pytest.mark.slow),
        pytest.param("os.rename", "verify.json", marks=pytest.mark.slow),
        ("os.rename", "manifest.json"),
    ],
)
def test_verify_is_killed_and_goes_on(exported: Path, tmp_path: Path, event: str, name: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "build"))
    before = hashes(folder)
    assert verify(folder, event, name) == -9
    left = hashes(folder)
    assert ("verify.json" in left) == (name == "manifest.json")
    if "verify.json" in left:
        assert len(read_verification(Workspace(folder)).runs) == 1
        del left["verify.json"]
    assert left == before
    assert verify(folder) == 0
    workspace = Workspace.existing(folder)
    assert len(read_verification(workspace).runs) == 1
    assert workspace.output_hashes("verify") == {"verify.json": sha256(folder / "verify.json")}
    unchanged = before.keys() - {"manifest.json"}
    assert {item: hashes(folder)[item] for item in unchanged} == {item: before[item] for item in unchanged}
    assert not list(folder.rglob(".*.part"))
