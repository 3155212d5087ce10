"""Killed right before each thing that a stage does to its folder: every file whole, and the same bytes in the end.

Drawing, quantizing and exporting are killed in tests/calibrate/test_kill.py and tests/pipeline/test_build.py.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace, sha256
from genq_export.pipeline.build import read_config, run_stages
from runtime_tests.report.model import read_report
from runtime_tests.verify.verify_file import read_verification
from tests.robustness.killed import changes, die_at, in_child
from tests.robustness.small_build import export_small
from tests.robustness.tamper_table import make_folder

QUIET = Progress(quiet=True)
REPORT_FILES = ("report.json", "report.html", "layers.csv", "summary.md")


def hashes(folder: Path) -> dict[str, str]:
    """Of every file that is no temporary one."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


# The report: killed before every one of its changes.


def write_report(folder: Path) -> None:
    assert run_stages(read_config(folder), folder, ("report",), QUIET) == ("report",)


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an older report in it."""
    return make_folder(tmp_path_factory.mktemp("stale") / "build").folder


@pytest.fixture(scope="module")
def whole(stale: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the report made anew, undisturbed."""
    folder = Path(shutil.copytree(stale, tmp_path_factory.mktemp("whole") / "build"))
    write_report(folder)
    return folder


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_report_is_killed_at_its_changes_and_ends_with_the_same_bytes(
    stale: Path, whole: Path, tmp_path: Path, every: int
) -> None:
    watched = Path(shutil.copytree(stale, tmp_path / "watched"))
    moments = changes(watched, lambda: write_report(watched))
    assert {("os.rename", name) for name in (*REPORT_FILES, "config.yaml", "manifest.json")} <= set(moments)
    before, after = hashes(stale), hashes(whole)
    for number, moment in list(enumerate(moments))[::every]:
        folder = Path(shutil.copytree(stale, tmp_path / f"killed-{number}"))

        def work(folder: Path = folder, number: int = number) -> None:
            die_at(folder, number)
            write_report(folder)

        assert in_child(work) == -9, moment
        left = hashes(folder)
        manifest = left.pop("manifest.json")
        whole_files = {name: {found.get(name) for found in (before, after)} for name in left}
        assert all(left[name] in whole_files[name] for name in left), (moment, left)
        assert manifest == before["manifest.json"] or set(REPORT_FILES) <= left.keys(), moment
        Workspace.existing(folder).read_manifest()
        run_stages(read_config(folder), folder, ("report",), QUIET)
        assert {name: hashes(folder)[name] for name in REPORT_FILES} == {name: after[name] for name in REPORT_FILES}
        assert not [path.name for path in folder.rglob(".*.part")], moment
        read_report(folder)
        shutil.rmtree(folder)


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
