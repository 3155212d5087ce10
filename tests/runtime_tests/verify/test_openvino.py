"""OpenVINO reads the very file that is made for ONNX Runtime: its codes, its answers, and its damaged files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.torch_modules import oracle_backend
from runtime_tests.verify.diagnosis.pair_sums import known_sum
from runtime_tests.verify.diagnosis.probe_effect import explain_probe_effect
from runtime_tests.verify.results import Verification
from runtime_tests.verify.run import verify
from tests.runtime_tests.measured import no_speed

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def measured(pristine_build: Path, config: BuildConfig, model: LoadedModel) -> Verification:
    values = config.model_dump()
    values["verify"]["backends"] = ("reference", "oracle", "onnxruntime", "openvino")
    changed, quiet = BuildConfig.parse(values), Progress(quiet=True)
    return verify(Workspace.existing(pristine_build), changed, model, quiet, measure_speed=no_speed)


def test_codes_of_the_file_are_the_oracles_but_at_a_border(measured: Verification) -> None:
    """Watched, OpenVINO adds in float: a sum on the border of two codes may get the other one, wherever it occurs."""
    fidelity = next(item for item in measured.fidelity if item.backend == "openvino")
    assert fidelity.codes > 3_000_000 and fidelity.missing == ()
    assert fidelity.match > 1 - 1e-5, fidelity.explanation
    assert all(item.largest <= 1 for item in fidelity.quantizers if item.own and not item.inherited)
    assert fidelity.differing == 0 or "at the border of two codes" in (fidelity.explanation or "")


def test_answers_are_those_of_the_reference(measured: Verification) -> None:
    """Watched, OpenVINO computes the file as written; as users run it, it fuses: what that moves is measured apart."""
    assert measured.agreement["openvino_vs_reference"] >= 0.98
    assert abs(measured.accuracy["openvino"].top1 - measured.accuracy["reference"].top1) <= 0.02
    assert measured.agreement["onnxruntime_vs_reference"] == 1.0


def test_what_watching_hides_is_found_by_experiment(measured: Verification) -> None:
    """As users run it, the addition is fused into the convolution in front of it, whose result is then not rounded."""
    fidelity = next(item for item in measured.fidelity if item.backend == "openvino")
    assert fidelity.probe_output_shift > 0.1 and fidelity.probe_effect is not None
    assert "with them off outputs of one batch are" in fidelity.probe_effect
    layers = "layer1.0.conv2, layer2.0.conv2, layer3.0.conv2 and layer4.0.conv2"
    assert f"They add the results of {layers} to the residual" in fidelity.probe_effect
    assert "saturate" not in fidelity.probe_effect, "7-bit weights cannot"


def test_saturation_is_told_apart_from_fusion(
    config: BuildConfig, model: LoadedModel, few_images: Path, images: np.ndarray, tmp_path: Path
) -> None:
    """Of 8-bit weights, too, where this processor cuts off their sums; nothing is said of it where it does not."""
    from export.run import run as run_export
    from genq_export.quantization.run import run as run_quantize

    values = config.model_dump()
    values["quantize"]["first_last_bits"] = 8
    wide, quiet = BuildConfig.parse(values), Progress(quiet=True)
    workspace = Workspace.open(tmp_path / "build")
    files = sorted(few_images.rglob("*.png"))
    workspace.record("quantize", "q", run_quantize(workspace, wide, model, files, tmp_path / "p", quiet), 1.0)
    workspace.record("export", "e", run_export(workspace, wide, model, quiet), 1.0)
    oracle = oracle_backend(workspace.folder)
    content = onnx.load(workspace.path("model.onnx"))
    reason, evidence = explain_probe_effect(content, images, oracle.outputs(images), 60.0)
    assert reason is not None and "without rounding them to codes" in reason, evidence
    known = known_sum("openvino", 60.0)
    assert known is not None
    assert ("sums of two products of conv1.0 and fc saturate at 16 bits" in reason) == known.saturates


def test_nothing_is_said_that_no_experiment_confirms(pristine_build: Path, images: np.ndarray) -> None:
    content = onnx.load(pristine_build / "model.onnx")
    reason, evidence = explain_probe_effect(content, images, {"logits": np.zeros((len(images), 10), np.float32)}, 60.0)
    assert reason is None and evidence[-1].endswith("do not explain what watching changes")
    reason, evidence = explain_probe_effect(onnx.ModelProto(), images, {"logits": np.zeros((24, 10), np.float32)}, 60.0)
    assert reason is None and "the experiments failed" in evidence[0]


def test_logits_do_not_depend_on_the_batch(pristine_build: Path, images: np.ndarray) -> None:
    backend = IsolatedBackend("openvino", pristine_build / "model.onnx", 60.0, threads=1)
    try:
        assert backend.title.startswith("OpenVINO 20") and backend.device == "cpu"
        whole = backend.outputs(images)["logits"]
        parts = np.concatenate([backend.outputs(part)["logits"] for part in np.array_split(images, 5)])
        assert whole.shape == (len(images), 10) and np.allclose(whole, parts, atol=1e-4)
        assert backend.peak_memory_mib() > 10
    finally:
        backend.close()


def test_a_damaged_file_is_a_line(tmp_path: Path, pristine_build: Path) -> None:
    content = (pristine_build / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(BackendError, match=r"cannot read model\.onnx"):
        IsolatedBackend("openvino", tmp_path / "model.onnx", 60.0)
