"""Sums of products that a processor without VNNI cannot hold: found by experiment, and named as what they are."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendMissing
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.names import codes_tensor, weight_tensor
from genq_export.runtimes.backends import OnnxRuntimeBackend, OpenVinoBackend
from runtime_tests.verify import run
from runtime_tests.verify.constants import Constants
from runtime_tests.verify.diagnosis.explain import halve_weight_codes

QUIET = Progress(quiet=True)


def one_convolution(path: Path) -> Path:
    """Uint8 codes up to 255 times int8 codes up to 127: pairs of products reach 64,770, twice what 16 bits hold."""
    constants = {
        "codes": np.full((4, 2, 3, 3), 127, np.int8), "weight_scale": np.full(4, 0.01, np.float32),
        "scale": np.float32(1), "zero": np.uint8(0), "out_scale": np.float32(50), "out_zero": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], [codes_tensor("input")]),
        helper.make_node("DequantizeLinear", [codes_tensor("input"), "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["codes", "weight_scale"], [weight_tensor("conv")], axis=0),
        helper.make_node("Conv", ["x", weight_tensor("conv")], ["y"], name="conv"),
        helper.make_node("QuantizeLinear", ["y", "out_scale", "out_zero"], [codes_tensor("logits")]),
        helper.make_node("DequantizeLinear", [codes_tensor("logits"), "out_scale", "out_zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one convolution",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["b", 2, 3, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 4, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def saturating(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Which runtimes lose the ends of large sums on this processor?"""
    path = one_convolution(tmp_path_factory.mktemp("probe") / "model.onnx")
    images = np.full((1, 2, 3, 3), 255, np.float32)
    expected = OnnxRuntimeBackend(path, optimised=False, threads=1).logits(images)
    found = {"onnxruntime": OnnxRuntimeBackend(path, threads=1).logits(images)}
    with contextlib.suppress(BackendMissing):
        found["openvino"] = OpenVinoBackend(path, threads=1).logits(images)
    return {name: not np.allclose(logits, expected) for name, logits in found.items()}


def test_halved_codes_are_computed_right_on_any_processor(tmp_path: Path) -> None:
    path = one_convolution(tmp_path / "model.onnx")
    model = onnx.load(path)
    assert halve_weight_codes(model, "conv") and not halve_weight_codes(model, "none")
    codes = Constants(model).value("codes")
    assert codes is not None and codes.dtype == np.int8 and (codes == 63).all()
    onnx.save(model, path)
    images = np.full((1, 2, 3, 3), 255, np.float32)
    expected = OnnxRuntimeBackend(path, optimised=False, threads=1).logits(images)
    assert np.array_equal(OnnxRuntimeBackend(path, threads=1).logits(images), expected)
    pytest.importorskip("openvino")
    assert np.allclose(OpenVinoBackend(path, threads=1).logits(images), expected)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_saturated_sums_are_told_from_other_differences(
    runtime: str, saturating: dict[str, bool], config: BuildConfig, model: LoadedModel, few_images: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An 8-bit first layer is right on processors with VNNI, and on others the explanation says why it is not."""
    from export.stage import run as run_export
    from genq_export.quantize.stage import run as run_quantize

    if runtime not in saturating:
        pytest.skip(f"{runtime} is not installed")
    monkeypatch.setattr(run, "speed_and_size", lambda *_: (None, None))
    values = config.model_dump()
    values["quantize"]["first_last_bits"] = 8
    values["verify"]["backends"] = (runtime,)
    wide = BuildConfig.parse(values)
    workspace = Workspace.open(tmp_path / "build")
    images = sorted(few_images.rglob("*.png"))
    workspace.record("quantize", "q", run_quantize(workspace, wide, model, images, tmp_path / "p", QUIET), 1.0)
    workspace.record("export", "e", run_export(workspace, wide, model, QUIET), 1.0)
    found = run.verify(workspace, wide, model, QUIET).fidelity
    fidelity = next(item for item in found if item.backend == runtime)
    if saturating[runtime]:
        assert fidelity.first_diverging == "conv1.2"
        assert fidelity.explanation is not None
        assert "sums of two products of conv1.0 saturate at 16 bits" in fidelity.explanation
    elif fidelity.differing:  # OpenVINO adds in another order, and a sum at the border of two codes falls elsewhere
        assert runtime == "openvino"
        assert fidelity.differing <= 1e-6 * fidelity.codes
        assert fidelity.explanation is not None
        assert fidelity.explanation.startswith("float rounding decides at the border of two codes")
