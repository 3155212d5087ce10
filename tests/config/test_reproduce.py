"""The script that repeats the paper's rows: what it asks for, and the whole of it on what is in the package."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "recipes" / "reproduce.sh"


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """A folder for PATH with `genq-export` of this tree in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    place = folder / "genq-export"
    place.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genq_export "$@"\n')
    place.chmod(0o755)
    return folder


def run(*arguments: str, path: str = os.defpath, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=known | environment,
    )


def test_without_the_command_or_a_gpu_it_says_what_is_missing(tmp_path: Path, command: Path) -> None:
    ended = run(str(tmp_path / "out"))
    assert ended.returncode == 2 and "pip install" in ended.stderr
    ended = run(str(tmp_path / "out"), path=f"{command}:{os.defpath}")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert "no NVIDIA GPU" in ended.stderr or "GiB free" in ended.stderr


def test_images_of_other_kinds_are_refused_before_anything_is_fetched(tmp_path: Path, command: Path) -> None:
    """With a stand-in of `nvidia-smi`, and of `df` that finds room."""
    for name, text in (("nvidia-smi", "exit 0"), ("df", "printf 'a\\na 1 1 999999999 1%% /\\n'")):
        (command / name).write_text(f"#!/bin/sh\n{text}\n")
        (command / name).chmod(0o755)
    path, out = f"{command}:{os.defpath}", str(tmp_path / "out")
    assert "set IMAGENET" in run(out, path=path).stderr
    assert "is no folder" in run(out, path=path, IMAGENET=str(tmp_path / "nothing")).stderr
    assert "not the 1,000 classes" in run(out, path=path, IMAGENET=str(tmp_path)).stderr


def test_the_table_says_what_the_readme_says() -> None:
    page = (ROOT / "recipes" / "README.md").read_text()
    for row, (ours, real) in reproduced().PUBLISHED.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{row}`")]
        assert ours in line and f"same engine {real}" in line
        assert row in SCRIPT.read_text()


def reproduced() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduced", ROOT / "recipes" / "reproduced.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_rehearsal_ends_with_a_table_and_does_nothing_twice(tmp_path: Path, command: Path) -> None:
    path = f"{command}:{Path(sys.executable).parent}:{os.defpath}"
    ended = run("--rehearse", str(tmp_path / "out"), path=path)
    assert ended.returncode == 0, ended.stderr
    rows = [line for line in ended.stdout.splitlines() if line.startswith("| resnet50-")]
    assert len(rows) == 2 and all("| fashion_resnet | 92.84 |" in row for row in rows)
    assert "nothing to do" in run("--rehearse", str(tmp_path / "out"), path=path).stdout
