"""Nothing of the current folder runs: not in the command, whichever way it starts, nor in a process that it starts."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genq_export.core.errors import BackendError
from genq_export.runtimes.isolation.process import IsolatedBackend

ROOT = Path(__file__).parents[2]
_SAY = (
    "import sys\nfrom genq_export.cli.app import main\ntry: main()\nexcept SystemExit: pass\n"
    "print('\\n', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
)


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not _installed():
        variables["PYTHONPATH"] = str(ROOT)
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=variables)


def _installed() -> bool:
    """Does the interpreter find this very tree from anywhere?"""
    code = "import genq_export; print(genq_export.__file__)"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd="/", env={})
    return found.stdout.strip() == str(ROOT / "genq_export" / "__init__.py")


def _stray(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(f"open('ran', 'a').write('{name} ')\n")
    for name in ("export", "calibrate", "runtime_tests"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"open('ran', 'a').write('{name} ')\n")


@pytest.mark.parametrize("arguments", [("--version",), ("audit", "x.onnx"), ("report", "a", "b")], ids=" ".join)
def test_a_module_of_any_name_in_the_current_folder_does_not_run(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Every module that the command imports, of Python's, of packages and of ours, lies there under its name."""
    (tmp_path / "empty").mkdir()
    loaded = set(_run("-c", _SAY, *arguments, cwd=tmp_path / "empty").stderr.splitlines()[-1].split())
    assert {"typing", "typer"} < loaded
    ours = {"genq_export", "export", "calibrate", "runtime_tests", "__main__", "sys", "builtins"}
    folder = tmp_path / "stray"
    folder.mkdir()
    _stray(folder, loaded - ours)
    done = _run("-m", "genq_export", *arguments, cwd=folder)
    assert not (folder / "ran").exists(), (folder / "ran").read_text()
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr


def test_a_worker_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stray(tmp_path, {"onnx", "onnxruntime", "numpy", "typing", "json", "signal", "struct"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError):
        IsolatedBackend("onnxruntime", tmp_path / "nothing.onnx", 60)
    assert not (tmp_path / "ran").exists()


# What starts a process, and why it runs nothing of the current folder.
_STARTERS = {
    "genq_export/runtimes/isolation/process.py": "with PYTHON (-P) and child_environment()",
    "genq_export/runtimes/timing.py": "nvidia-smi, by the search path of the system; no Python",
}
_MODULES = {"subprocess", "multiprocessing", "pty"}
_CALLS = {"system", "popen", "execv", "execve", "execvp", "spawnl", "spawnv", "posix_spawn", "fork", "startfile"}


def _starts(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(part.name in _MODULES for part in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module in _MODULES:
            return True
        if isinstance(node, ast.Name | ast.Attribute) and "ProcessPoolExecutor" in ast.unparse(node):
            return True
        if isinstance(node, ast.Attribute) and node.attr in _CALLS and ast.unparse(node.value) == "os":
            return True
    return False


def test_every_place_that_starts_a_process_is_known() -> None:
    packages = ("calibrate", "export", "genq_export", "runtime_tests")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in sources if _starts(path.read_text())}
    assert found == set(_STARTERS), "say in _STARTERS why nothing foreign runs"
