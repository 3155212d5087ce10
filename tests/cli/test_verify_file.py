"""`genq-export verify-file` as a user runs it."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Run
from tests.runtime_tests.qdq_file.files import quantized, residual

FAULTY = """
import sys
from genq_export.runtimes.isolation.environment import PYTHON
from runtime_tests.qdq_file import session
session.WORKER = (*PYTHON, "-m", "tests.runtime_tests.qdq_file.faulty_worker")
sys.argv = ["genq-export", *sys.argv[1:]]
from genq_export.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized(residual(), tmp_path_factory.mktemp("file"))


def test_the_verdict_is_printed_and_is_json_in_the_last_line(file: Path, tmp_path: Path, run: Run) -> None:
    done = run("verify-file", str(file), "--runs", "2", "--json", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["unexplained"] is False and told["runs"] == 2 and told["runtimes"][0]["codes"] > 1000
    assert "integer layers" in done.stdout and "4 of 4" in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_unexplained_codes_end_with_exit_code_1(file: Path, run: Run) -> None:
    done = run("verify-file", str(file), "--runs", "1", "-q", program=("-c", FAULTY))
    assert done.returncode == 1, done.stderr
    assert "stem" in done.stdout or "act" in done.stdout
    assert done.stdout.rstrip().endswith("codes differ, and not every difference is explained")


def test_weights_that_arm64_multiplies_wrong_are_noted_here_and_by_audit(file: Path, tmp_path: Path, run: Run) -> None:
    model = onnx.load(file)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "first.w_quantized")
    codes = numpy_helper.to_array(weight).copy()
    codes[:, 0, 0, 0] = -128
    weight.CopyFrom(numpy_helper.from_array(codes, weight.name))
    onnx.save(model, tmp_path / "least.onnx")
    for command in (["verify-file", "--runs", "1", "-q"], ["audit"]):
        for name, times in (("least.onnx", 1), (str(file), 0)):
            done = run(*command, name, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("note: 1 layer has weights of the code -128") == times


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.onnx"], "nowhere.onnx is not a file"),
        (["{file}", "--shape", "3x3"], "--shape: sizes with commas are wanted"),
        (["{file}", "--shape", "1,3,8,8"], "input 'x' is [1,3,16,16], not [1,3,8,8]"),
        (["{file}", "--mean", "0.5"], "--mean and --std go together"),
        (["{file}", "--mean", "1,x", "--std", "1,1"], "--mean: numbers with commas"),
        (["{file}", "--images", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(file: Path, run: Run, arguments: list[str], words: str) -> None:
    done = run("verify-file", *(part.format(file=file) for part in arguments))
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
