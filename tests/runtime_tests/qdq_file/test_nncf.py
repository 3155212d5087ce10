"""A file that NNCF made: its own environment quantizes, `verify-file` here says what a session makes of the file.

The environment is made here, or named: NNCF_PYTHON=…/bin/python
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from genq_export.core.progress import Progress
from runtime_tests.qdq_file.loading import Manner
from runtime_tests.qdq_file.run import Wish, verify_file
from tests.environments import own_python
from tests.runtime_tests.qdq_file.files import Float, attention, residual

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "nncf_file.py"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "NNCF_PYTHON" in os.environ:
        return Path(os.environ["NNCF_PYTHON"])
    return own_python(tmp_path_factory.mktemp("nncf"), "nncf", "onnx", "onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("network", [residual, attention], ids=lambda network: network.__name__)
def test_every_difference_of_a_file_of_nncf_is_explained(
    network: Callable[[], Float], python: Path, tmp_path: Path
) -> None:
    source, place = network().save(tmp_path / "float.onnx"), tmp_path / "nncf.onnx"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, SCRIPT, source, place], check=True, env=environment)
    found = verify_file(place, Wish(count=4), Progress(quiet=True), (Manner("onnxruntime"),))
    (item,) = found.runtimes
    assert item.problem is None and found.quantizers > 3 and item.codes > 1000
    assert not found.unexplained, [part for part in item.quantizers if part.unexplained]
    # NNCF leaves biases in float, which integer kernels round: known by name wherever it shows.
    own = [part for part in item.quantizers if part.by_itself]
    assert all(part.explanation for part in own)
