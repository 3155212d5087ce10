"""The release: a wheel and an sdist that hold what they must, install elsewhere and build a network there."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from genq_export import load
from genq_export.core.workspace import StageResult, Workspace
from tests.environments import own_python
from tests.runtime_tests.qdq_file.files import quantized, residual
from tools.first_file import BUILD, first_file

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"genq_export", "calibrate", "export", "runtime_tests"}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def packaged() -> list[str]:
    """The tracked files of the packages: sources, weights, templates, schemas; less what is for readers of the code."""
    return [name for name in tracked() if name.split("/")[0] in PACKAGES and name != "calibrate/README.md"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and sdist, built from a copy of the tracked files by the build backend installed here."""
    folder = tmp_path_factory.mktemp("release")
    for name in tracked():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "source" / name)
    # setuptools writes over sys.argv.
    script = "import setuptools.build_meta as b, sys; out = sys.argv[1]; b.build_wheel(out); b.build_sdist(out)"
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=folder / "source", check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def declared() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@pytest.mark.slow
def test_the_wheel_holds_what_it_needs_and_no_tests(archives: tuple[Path, Path]) -> None:
    wheel, _ = archives
    assert wheel.name == f"genq_export-{declared()}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert {name.split("/")[0] for name in names if ".dist-info" not in name.split("/")[0]} == PACKAGES
    assert sorted(set(packaged()) - set(names)) == []
    assert "genq-export = genq_export.cli.app:main" in entry_points


@pytest.mark.slow
def test_the_sdist_holds_the_sources(archives: tuple[Path, Path]) -> None:
    _, sdist = archives
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted({*packaged(), "pyproject.toml", "README.md", "LICENSE"} - names) == []


@pytest.mark.slow
def test_the_wheel_installs_elsewhere_and_builds_a_network(archives: tuple[Path, Path], tmp_path: Path) -> None:
    """Installed without its dependencies, which come from this environment; ours must come from the wheel."""
    wheel, _ = archives
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True)
    environment = os.environ | {"PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
    smaller = ["--images", "20", "--set", "calibrate.steps=2", "--set", "verify.latency_runs=10"]
    done = subprocess.run(
        [str(target / "bin" / "genq-export"), "build", "fashion_resnet", "--preset", "quick", *smaller],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr  # a gate may fail on so few images
    assert (tmp_path / "build" / "fashion_resnet-w4a4-onnxruntime" / "report.html").is_file()
    where = [sys.executable, "-c", "import genq_export; print(genq_export.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(target))


@pytest.mark.slow
def test_three_commands_lead_from_pip_to_the_file_of_ones_own_network(
    archives: tuple[Path, Path], tmp_path: Path
) -> None:
    """From the package index, with what the wheel asks for."""
    wheel, _ = archives
    steps = first_file(wheel, [f"torch=={version('torch').partition('+')[0]}"], tmp_path)
    assert len(steps) == 3 and all(step.seconds > 0 for step in steps)
    assert load(tmp_path / BUILD)(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 10)  # type: ignore[union-attr]
    verdict = json.loads((tmp_path / BUILD / "report.json").read_text())
    assert all(layer["integer"] for layer in verdict["layers"])


CORE = """
import importlib.util, sys
import numpy as np
from genq_export import load
assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("PIL") is None
print(load(sys.argv[1])(np.zeros((1, 3, 16, 16), np.float32)).shape)
"""


@pytest.mark.slow
def test_the_core_installs_without_torch_and_verifies_audits_and_loads(
    archives: tuple[Path, Path], tmp_path: Path
) -> None:
    """From the package index, with what the wheel alone asks for."""
    wheel, _ = archives
    python = own_python(tmp_path / "env", wheel)
    file = quantized(residual(), tmp_path)
    workspace = Workspace.open(tmp_path / "build")
    workspace.write_bytes("model.onnx", file.read_bytes())
    workspace.record("export", "e", StageResult(["model.onnx"], {}), 1.0)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(list(map(str, arguments)), cwd=tmp_path, capture_output=True, text=True, check=False)

    command = tmp_path / "env" / "bin" / "genq-export"
    for arguments in (("verify-file", file, "--runs", 2), ("audit", file), ("doctor",)):
        done = run(command, *arguments)
        assert done.returncode == 0, done.stderr
    assert run(python, "-c", CORE, tmp_path / "build").stdout == "(1, 5)\n"
    refused = run(command, "build", "fashion_resnet")
    assert refused.returncode == 2 and "pip install 'genq-export[quantize]'" in refused.stderr


def test_the_version_stands_in_one_place() -> None:
    assert version("genq-export") == declared()
    listed = [path for path in (ROOT / "genq_export").rglob("*.py") if f'"{declared()}"' in path.read_text()]
    assert listed == []


def test_completion_is_offered_and_answers() -> None:
    script = _completion(_GENQ_EXPORT_COMPLETE="source_bash")
    assert "_GENQ_EXPORT_COMPLETE=complete_bash" in script
    assert (
        _completion(_GENQ_EXPORT_COMPLETE="complete_bash", COMP_WORDS="genq-export cal", COMP_CWORD="1")
        == "calibrate\n"
    )
    assert "--weight-bits" in _completion(
        _GENQ_EXPORT_COMPLETE="complete_bash", COMP_WORDS="genq-export build --we", COMP_CWORD="2"
    )


def _completion(**variables: str) -> str:
    """What the shell's completion function is answered."""
    program = "import sys; sys.argv = ['genq-export']; from genq_export.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    return done.stdout
