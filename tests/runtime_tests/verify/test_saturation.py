"""Sums of products that a processor without VNNI cannot hold: found by experiment, and named as what they are."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.onnx_graph import quantizers
from genq_export.runtimes.largest_codes import largest_codes
from genq_export.runtimes.onnxruntime import ONNXRUNTIME, ONNXRUNTIME_UNFUSED
from genq_export.runtimes.openvino import OPENVINO
from genq_export.runtimes.torch_modules import TorchBackend, oracle_backend
from runtime_tests.verify.constants import Constants
from runtime_tests.verify.diagnosis.case import Case, quantizer_input
from runtime_tests.verify.diagnosis.pair_sums import (
    KnownSum,
    halve_weight_codes,
    known_sum,
    saturating_sums,
)
from runtime_tests.verify.results import BackendFidelity
from runtime_tests.verify.run import verify
from tests.runtime_tests.measured import no_speed

QUIET = Progress(quiet=True)
FULL = np.full((1, 2, 3, 3), 255, np.float32)
RIGHT, CUT_OFF = KnownSum("onnxruntime", 5850), KnownSum("onnxruntime", 2950)


def test_the_known_sum_is_right_where_nothing_saturates(tmp_path: Path) -> None:
    onnx.save(largest_codes(), tmp_path / "model.onnx")
    plain = ONNXRUNTIME_UNFUSED.open(tmp_path / "model.onnx", 1).outputs(FULL)["logits"]
    assert plain.shape == (1, 4, 1, 1) and (plain == RIGHT.right).all()
    asked = known_sum("onnxruntime-unfused", 60.0)
    assert asked is not None and not asked.saturates and asked.found == RIGHT.right
    assert not RIGHT.saturates and CUT_OFF.saturates and "gives 2950 in onnxruntime" in CUT_OFF.evidence
    assert known_sum("no runtime", 60.0) is None


def test_halved_codes_are_computed_right_on_any_processor(tmp_path: Path) -> None:
    path, model = tmp_path / "model.onnx", largest_codes()
    assert halve_weight_codes(model, "conv") and not halve_weight_codes(model, "none")
    codes = Constants(model).value("codes")
    assert codes is not None and codes.dtype == np.int8 and (codes == 63).all()
    onnx.save(model, path)
    expected = ONNXRUNTIME_UNFUSED.open(path, 1).outputs(FULL)["logits"]
    assert np.array_equal(ONNXRUNTIME.open(path, 1).outputs(FULL)["logits"], expected)
    pytest.importorskip("openvino")
    assert np.allclose(OPENVINO.open(path, 1).outputs(FULL)["logits"], expected)


@pytest.fixture(scope="module")
def oracle(pristine_build: Path) -> TorchBackend:
    return oracle_backend(pristine_build)


def case_of(folder: Path, oracle: TorchBackend, images: np.ndarray, wrong: np.ndarray | None = None) -> Case:
    """A runtime that computes `conv1.2`, behind the first convolution, as the oracle but for codes that are `wrong`.

    wrong: what is added to its codes. A copy of the file with halved weight codes is computed right by any runtime.
    """
    model = onnx.load(folder / "model.onnx")
    _, expected = oracle.codes(images)
    found = expected if wrong is None else {**expected, "conv1.2": expected["conv1.2"] + wrong}
    fidelity = BackendFidelity(
        backend="onnxruntime", against="oracle", images=len(images), codes=1, differing=1, largest=1,
        first_diverging="conv1.2", outputs_largest=0, quantizers=(),
    )  # fmt: skip
    return Case(fidelity, oracle, (images, expected, found), model, quantizers(model), None, 60.0)


def test_saturation_is_named_where_the_runtime_cuts_off_a_known_sum(
    pristine_build: Path, oracle: TorchBackend, images: np.ndarray
) -> None:
    wrong = -(oracle.codes(images)[1]["conv1.2"] > 8).astype(np.int32) * 3
    case = case_of(pristine_build, oracle, images, wrong)
    found = saturating_sums(case, lambda *_: CUT_OFF)
    assert found.explanation is not None
    assert found.explanation.startswith("sums of two products of conv1.0 saturate at 16 bits on this processor")
    assert CUT_OFF.evidence in found.evidence


def test_saturation_is_not_named_where_the_runtime_computes_a_known_sum(
    pristine_build: Path, oracle: TorchBackend, images: np.ndarray
) -> None:
    """Halved weight codes make the difference go, but nothing saturates here: something else did."""
    wrong = -(oracle.codes(images)[1]["conv1.2"] > 8).astype(np.int32) * 3
    case = case_of(pristine_build, oracle, images, wrong)
    found = saturating_sums(case, lambda *_: RIGHT)
    assert found.explanation is None and found.evidence[-1] == RIGHT.evidence
    assert saturating_sums(case, lambda *_: None).explanation is None
    known = known_sum("onnxruntime", 60.0)
    assert known is not None and not known.saturates, "every session of ours is set up so that it does not"
    assert saturating_sums(case).explanation is None


def test_differences_at_the_border_of_two_codes_are_not_saturation(
    pristine_build: Path, oracle: TorchBackend, images: np.ndarray
) -> None:
    """Halving moves them away from the border: the difference goes on any processor, so it says nothing."""
    quantized = quantizer_input(case_of(pristine_build, oracle, images), "conv1.2")
    assert quantized is not None
    part, x = quantized
    steps = x.astype(np.float64) / float(part.scale) + int(part.zero_point)
    inside = (steps > part.lo + 1) & (steps < part.hi - 1)
    distance = np.where(inside, np.abs(steps - np.floor(steps) - 0.5), 1)
    closest = distance <= np.sort(distance.ravel())[2]
    assert distance[closest].max() < 1e-3
    wrong = np.where(closest, np.where(steps - np.floor(steps) < 0.5, 1, -1), 0)
    found = saturating_sums(case_of(pristine_build, oracle, images, wrong), lambda *_: CUT_OFF)
    assert found.explanation is None and "lie at the border of two codes" in found.evidence[-1]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_saturated_sums_are_told_from_other_differences(
    runtime: str, config: BuildConfig, model: LoadedModel, few_images: Path, tmp_path: Path
) -> None:
    """An 8-bit first layer is right on processors with VNNI, and on others the explanation says why it is not."""
    from export.run import run as run_export
    from genq_export.quantization.run import run as run_quantize

    known = known_sum(runtime, 60.0)
    if known is None:
        pytest.skip(f"{runtime} is not installed")
    values = config.model_dump()
    values["quantize"]["first_last_bits"] = 8
    values["verify"]["backends"] = (runtime,)
    wide = BuildConfig.parse(values)
    workspace = Workspace.open(tmp_path / "build")
    images = sorted(few_images.rglob("*.png"))
    workspace.record("quantize", "q", run_quantize(workspace, wide, model, images, tmp_path / "p", QUIET), 1.0)
    workspace.record("export", "e", run_export(workspace, wide, model, QUIET), 1.0)
    found = verify(workspace, wide, model, QUIET, measure_speed=no_speed).fidelity
    fidelity = next(item for item in found if item.backend == runtime)
    if known.saturates:
        assert fidelity.first_diverging == "conv1.2"
        assert fidelity.explanation is not None
        assert "sums of two products of conv1.0 saturate at 16 bits" in fidelity.explanation
    elif fidelity.differing:  # OpenVINO adds in another order, and a sum at the border of two codes falls elsewhere
        assert runtime == "openvino"
        assert fidelity.differing <= 1e-6 * fidelity.codes
        assert fidelity.explanation is not None
        assert fidelity.explanation.startswith("float rounding decides at the border of two codes")
