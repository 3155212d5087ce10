"""Another input is told from another rounding of the same one."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from genq_export.network.onnx_graph import quantizers
from genq_export.runtimes.torch_modules import TorchBackend, oracle_backend
from runtime_tests.verify.diagnosis.case import Case
from runtime_tests.verify.diagnosis.network_input import another_input
from runtime_tests.verify.results import BackendFidelity


@pytest.fixture(scope="module")
def oracle(pristine_build: Path) -> TorchBackend:
    return oracle_backend(pristine_build)


def case_of(folder: Path, oracle: TorchBackend, images: np.ndarray, first: str, found: np.ndarray) -> Case:
    """A runtime that computes `found` at the quantizer where codes first differ."""
    model = onnx.load(folder / "model.onnx")
    _, expected = oracle.codes(images)
    fidelity = BackendFidelity(
        backend="onnxruntime", against="oracle", images=len(images), codes=1, differing=1, largest=1,
        first_diverging=first, outputs_largest=0, quantizers=(),
    )  # fmt: skip
    return Case(fidelity, oracle, (images, expected, {**expected, first: found}), model, quantizers(model), None, 60.0)


def test_pixels_in_another_range_are_another_input(
    pristine_build: Path, oracle: TorchBackend, images: np.ndarray
) -> None:
    halved = np.rint(oracle.codes(images)[1]["input"] / 2).astype(np.int32)
    found = another_input(case_of(pristine_build, oracle, images, "input", halved))
    assert found.explanation is not None and found.explanation.startswith("the network gets another input")
    assert "input are 0.5" in found.evidence[0]


def test_a_few_codes_rounded_otherwise_are_not(pristine_build: Path, oracle: TorchBackend, images: np.ndarray) -> None:
    codes = oracle.codes(images)[1]["input"].copy()
    codes.ravel()[:5] += 1
    found = another_input(case_of(pristine_build, oracle, images, "input", codes))
    assert found.explanation is None and "input are 1.000 times" in found.evidence[0]


def test_a_difference_behind_a_layer_is_not_the_inputs(
    pristine_build: Path, oracle: TorchBackend, images: np.ndarray
) -> None:
    halved = oracle.codes(images)[1]["conv1.2"] // 2
    found = another_input(case_of(pristine_build, oracle, images, "conv1.2", halved))
    assert found.explanation is None and found.evidence == ()
