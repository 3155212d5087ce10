"""The core without torch: what it does, and what it says of the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genq_export.core.extras import EXTRAS
from genq_export.core.workspace import StageResult, Workspace
from tests.runtime_tests.qdq_file.files import quantized, residual

BLOCKING = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRAS)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())

import importlib.util as util

def find_spec(name, package=None, found=util.find_spec):
    return None if name.partition(".")[0] in {sorted(EXTRAS)} else found(name, package)

util.find_spec = find_spec
"""
Light = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def light(tmp_path: Path) -> Light:
    """A Python in which none of the extras' packages can be imported, by it or by a process that it starts."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKING)
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), root])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized(residual(), tmp_path_factory.mktemp("file"))


def test_the_blocks_hold(light: Light) -> None:
    for name in ("torch", "PIL", "scipy"):
        assert "ModuleNotFoundError" in light("-c", f"import {name}").stderr


def test_files_are_verified_and_audited(light: Light, file: Path) -> None:
    verified = light("-m", "genq_export", "verify-file", str(file), "--runs", "1", "--json", "-q")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout.splitlines()[-1])["runtimes"][0]["codes"] > 1000
    audited = light("-m", "genq_export", "audit", str(file), "--json")
    assert audited.returncode == 0, audited.stderr
    assert all(layer["integer"] for layer in json.loads(audited.stdout.splitlines()[-1]))


def test_a_build_is_loaded(light: Light, file: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "build")
    workspace.write_bytes("model.onnx", file.read_bytes())
    workspace.record("export", "e", StageResult(["model.onnx"], {"storage": {"activations": "uint8"}}), 1.0)
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 16), np.float32))
    program = "import numpy as np; from genq_export import load; print(load('build')(np.load('x.npy')).shape)"
    done = light("-c", program)
    assert done.stdout == "(1, 5)\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["build", "fashion_resnet"], "quantize"), (["calibrate", "fashion_resnet"], "quantize"),
        (["verify", "nowhere"], "quantize"), (["inspect", "nowhere"], "quantize"),
        (["verify-file", "{file}", "--images", "{folder}"], "images"),
    ],
)  # fmt: skip
def test_what_the_core_cannot_do_is_one_line_that_names_the_extra(
    light: Light, file: Path, tmp_path: Path, arguments: list[str], extra: str
) -> None:
    before = sorted(tmp_path.iterdir())
    done = light("-m", "genq_export", *(part.format(file=file, folder=file.parent) for part in arguments))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"pip install 'genq-export[{extra}]'" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_help_and_doctor_need_nothing(light: Light) -> None:
    assert light("-m", "genq_export", "build", "--help").returncode == 0
    assert "genq-export[all]" in light("-m", "genq_export", "doctor").stdout
