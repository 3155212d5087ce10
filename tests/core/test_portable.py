"""The part that runs on Windows as well, in a Python that lacks what POSIX alone has; and what is said of the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genq_export.core.platforms import peak_memory_mib
from genq_export.core.workspace import StageResult, Workspace
from tests.runtime_tests.qdq_file.files import quantized, residual

WITHOUT_POSIX = """
import os, select, signal, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "resource", "pwd", "grp"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
GONE = {
    # What packages ask for by os.name or sys.platform stays: os.uname, os.sysconf, termios.
    os: ("statvfs", "posix_fallocate", "fork", "forkpty", "killpg", "getuid", "geteuid", "getpgid",
         "sched_getaffinity", "sched_setaffinity", "O_NOFOLLOW", "O_DIRECTORY", "set_blocking", "mkfifo", "getloadavg"),
    signal: ("SIGALRM", "setitimer", "getitimer", "alarm", "SIGHUP", "SIGKILL", "pthread_sigmask"),
    select: ("poll", "epoll", "kqueue"),
}
for module, names in GONE.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
LOADS = """
import sys
import numpy as np
import genq_export
assert genq_export.__all__
print(genq_export.load(sys.argv[1])(np.zeros((1, 3, 16, 16), np.float32)).shape)
"""
Bare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    """A Python without POSIX, and the processes that it starts."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITHOUT_POSIX)
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), root])}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return quantized(residual(), tmp_path)


def test_the_shim_takes_away_what_it_says(bare: Bare) -> None:
    done = bare("-c", "import os, signal; print(hasattr(os, 'statvfs'), hasattr(signal, 'SIGALRM'))\nimport fcntl")
    assert done.stdout == "False False\n" and "No module named 'fcntl'" in done.stderr


def test_a_build_is_loaded(bare: Bare, file: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "build")
    workspace.write_bytes("model.onnx", file.read_bytes())
    workspace.record("export", "e", StageResult(["model.onnx"], {}), 1.0)
    done = bare("-c", LOADS, tmp_path / "build")
    assert (done.returncode, done.stdout) == (0, "(1, 5)\n"), done.stderr


def test_commands_that_need_no_further_process_work(bare: Bare, file: Path) -> None:
    for arguments in (["--help"], ["--version"], ["audit", file], ["doctor"], ["models", "fashion"]):
        done = bare("-m", "genq_export", *arguments)
        assert done.returncode == 0, (arguments, done.stderr)


def test_a_folder_is_made_locked_and_recorded(bare: Bare, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from genq_export.core.workspace import StageResult, Workspace\n"
        "from genq_export.core.build_log import logged; from genq_export.core.progress import Progress\n"
        "found = Workspace.open(Path('made'))\n"
        "with found.locked(), logged(found, Progress(quiet=True), 'x'):\n"
        "    found.record('export', 'e', StageResult([], {}), 1.0)\n"
    )
    done = bare("-c", program)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "made" / "manifest.json").read_text())["stages"]["export"]
    assert record["peak_memory_mib"] is None and (tmp_path / "made" / "build.log").is_file()


@pytest.mark.parametrize("command", [["build", "fashion_resnet"], ["verify", "made"], ["verify-file", "net.onnx"]])
def test_commands_that_do_are_one_line_that_says_where_they_work(
    bare: Bare, command: list[str], tmp_path: Path
) -> None:
    done = bare("-m", "genq_export", *command)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"genq-export {command[0]} needs Linux or macOS; on Windows run it in WSL" in done.stderr
    assert not (tmp_path / "build").exists()


def test_the_check_of_a_build_needs_nothing_of_the_system() -> None:
    source = (Path(__file__).parents[2] / "export" / "check" / "assets" / "check.py").read_text()
    for name in ("fcntl", "resource", "signal", "os.fork"):
        assert f"import {name}" not in source


def test_peak_memory_is_in_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    held = np.ones(1 << 20)
    here = peak_memory_mib()
    assert here is not None and 20 < here < 1e5 and held.size
    monkeypatch.setattr(sys, "platform", "darwin")  # whose unit is the byte
    there = peak_memory_mib()
    assert there is not None and there < here / 500
