"""docs/cpp/run_model.cpp gives the outputs that Python gives.

Needs g++, and ONNXRUNTIME: a folder with `include/onnxruntime_c_api.h` and `lib/libonnxruntime.so`, as a release of
ONNX Runtime for C and C++ unpacks to.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.serve.builds import make_build

SOURCE = Path(__file__).parents[1] / "docs" / "cpp" / "run_model.cpp"
HOME = Path(os.environ.get("ONNXRUNTIME", "nowhere"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None or not (HOME / "include" / "onnxruntime_c_api.h").is_file():
        pytest.skip("no g++, or ONNXRUNTIME does not name a folder with ONNX Runtime's headers")
    made = tmp_path_factory.mktemp("cpp") / "run_model"
    places = [f"-I{HOME / 'include'}", f"-L{HOME / 'lib'}", f"-Wl,-rpath,{HOME / 'lib'}", "-lonnxruntime"]
    flags = ["-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, SOURCE, *places, "-o", made], check=True)
    return made


@pytest.mark.slow
def test_outputs_are_those_of_python(program: Path, tmp_path: Path) -> None:
    model = make_build(tmp_path, "fashion_resnet", 4) / "model.onnx"
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    image.tofile(tmp_path / "image.f32")
    done = subprocess.run(
        [program, model, tmp_path / "image.f32", "3", "32", "32"], capture_output=True, text=True, check=True
    )
    loaded, call, output = done.stdout.splitlines()
    assert loaded.startswith("loaded in") and call.startswith("a call takes")
    name, *numbers = output.split()
    session = onnxruntime.InferenceSession(model)
    assert name == session.get_outputs()[0].name
    assert np.array(numbers, np.float32).tolist() == session.run(None, {"input": image})[0][0].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", [["model.onnx"], ["gone.onnx", "image.f32", "3", "32", "32"], ["m", "gone", "3", "2", "2"]]
)
def test_what_is_wrong_is_one_line(program: Path, tmp_path: Path, given: list[str]) -> None:
    np.zeros(3072, np.float32).tofile(tmp_path / "image.f32")
    done = subprocess.run([program, *given], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1
