"""Planted faults: each is caught by a gate and blamed on the right layer, and an honest build passes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.names import codes_tensor, dequantized_tensor, weight_tensor
from genq_export.network.onnx_graph import quantizers
from genq_export.runtimes.torch_modules import oracle_backend
from runtime_tests.report.assemble import assemble
from runtime_tests.report.model import Report
from runtime_tests.verify.constants import Constants
from runtime_tests.verify.diagnosis.case import Case
from runtime_tests.verify.diagnosis.explain import explain
from runtime_tests.verify.results import BackendFidelity, VerifyFile
from runtime_tests.verify.run import verify
from tests.runtime_tests.conftest import Edit
from tests.runtime_tests.measured import no_speed

Judge = Callable[[Workspace], Report]


@pytest.fixture
def judge(config: BuildConfig, model: LoadedModel) -> Judge:
    """Verify and report, less latency."""

    def run(workspace: Workspace) -> Report:
        measured = verify(workspace, config, model, Progress(quiet=True), measure_speed=no_speed)
        workspace.write_json("verify.json", VerifyFile(runs=(measured,)).model_dump(mode="json"))
        return assemble(workspace, config)

    return run


def failed(report: Report) -> dict[str, str]:
    return {gate.name: gate.message for gate in report.gates if not gate.passed}


def bias_tensor(model: onnx.ModelProto, layer: str) -> str:
    return next(node for node in model.graph.node if node.name == layer).input[2]


def dequantizer(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def weight_codes(model: onnx.ModelProto, constants: Constants, layer: str) -> tuple[str, np.ndarray]:
    name = constants.source(dequantizer(model, weight_tensor(layer)).input[0])
    assert name is not None
    value = constants.value(name)
    assert value is not None
    return name, value.astype(np.int8)


def quantizer_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    node = dequantizer(model, codes_tensor(name))
    return dequantizer(model, node.input[0]) if node.op_type == "Clip" else node


def test_an_honest_build_passes_code_by_code(build: Workspace, judge: Judge) -> None:
    report = judge(build)
    assert failed(report) == {}
    assert report.passed
    assert {item.backend: item.differing for item in report.run.fidelity} == {"reference": 0, "onnxruntime": 0}
    assert report.agreement["onnxruntime_vs_reference"] == 1.0
    assert report.run.constants == ()


def test_a_scale_off_by_one_ulp(plant: Callable[[Edit], Workspace], judge: Judge) -> None:
    def edit(model: onnx.ModelProto, constants: Constants) -> None:
        name = quantizer_of(model, "layer2.0.act1").input[1]
        constants.replace(name, np.nextafter(constants.value(name), np.float32(9)))

    messages = failed(judge(plant(edit)))
    assert "the scale of layer2.0.act1 is" in messages["constants"]
    assert "(1 ulp apart)" in messages["constants"]


def test_a_flipped_weight_code(plant: Callable[[Edit], Workspace], judge: Judge) -> None:
    def edit(model: onnx.ModelProto, constants: Constants) -> None:
        name, codes = weight_codes(model, constants, "layer2.0.conv1")
        codes[5, 3, 1, 1] = 7 if codes[5, 3, 1, 1] <= 0 else -8
        constants.replace(name, codes)

    report = judge(plant(edit))
    assert failed(report)["constants"] == "the weight codes of layer2.0.conv1 differ in 1 value, output channel 5"
    fidelity = next(item for item in report.run.fidelity if item.backend == "onnxruntime")
    assert fidelity.first_diverging == "layer2.0.act1"
    first = next(item for item in fidelity.quantizers if item.name == "layer2.0.act1")
    assert first.channels == (5,)
    assert first.inherited == 0
    assert fidelity.explanation is not None and "weight codes of layer2.0.conv1" in fidelity.explanation


def test_exchanged_channels(plant: Callable[[Edit], Workspace], judge: Judge) -> None:
    def edit(model: onnx.ModelProto, constants: Constants) -> None:
        name, codes = weight_codes(model, constants, "layer1.0.conv1")
        codes[[2, 9]] = codes[[9, 2]]
        constants.replace(name, codes)

    report = judge(plant(edit))
    assert "layer1.0.conv1 have output channels 2 and 9 exchanged" in failed(report)["constants"]
    assert "layer1.0.act1" in failed(report)["code_match"]


def test_a_bias_off_the_grid(plant: Callable[[Edit], Workspace], judge: Judge) -> None:
    def edit(model: onnx.ModelProto, constants: Constants) -> None:
        tensor = bias_tensor(model, "layer3.0.conv1")
        node = dequantizer(model, tensor)
        codes, scale = constants.value(node.input[0]), constants.value(node.input[1])
        assert codes is not None and scale is not None
        value = ((codes + 0.4) * scale).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, "float_bias"))
        next(part for part in model.graph.node if part.name == "layer3.0.conv1").input[2] = "float_bias"

    messages = failed(judge(plant(edit)))
    assert messages["constants"] == "the bias of layer3.0.conv1 is not on the accumulator grid"


def test_a_missing_residual_quantizer(plant: Callable[[Edit], Workspace], judge: Judge) -> None:
    def edit(model: onnx.ModelProto, _: Constants) -> None:
        end = dequantized_tensor("layer2.0.downsample.0")
        start = quantizer_of(model, "layer2.0.downsample.0").input[0]
        reader = next(node for node in model.graph.node if end in node.input)
        reader.input[list(reader.input).index(end)] = start
        codes = codes_tensor("layer2.0.downsample.0")
        gone = [node for node in model.graph.node if codes in [*node.input, *node.output]]
        for node in gone:
            model.graph.node.remove(node)

    report = judge(plant(edit))
    assert failed(report)["code_match"] == "the file has no quantizer layer2.0.downsample.0"
    fidelity = next(item for item in report.run.fidelity if item.backend == "onnxruntime")
    assert fidelity.missing == ("layer2.0.downsample.0",)


def test_wrong_preprocessing(plant: Callable[[Edit], Workspace], judge: Judge) -> None:
    def edit(model: onnx.ModelProto, _: Constants) -> None:
        """The file scales its input as a network for pixels in another range would."""
        quantize = quantizer_of(model, "input")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
        scaled = onnx.helper.make_node("Mul", ["input", "half"], ["halved"])
        quantize.input[0] = "halved"
        model.graph.node.insert(0, scaled)

    report = judge(plant(edit))
    assert "another input" in failed(report)["code_match"]
    fidelity = next(item for item in report.run.fidelity if item.backend == "onnxruntime")
    assert fidelity.first_diverging == "input"
    slopes = [float(found[1]) for line in fidelity.evidence if (found := re.search(r"input are ([\d.]+) times", line))]
    assert slopes == pytest.approx([0.5], abs=0.01), fidelity.evidence


def test_float_rounding_at_a_border_is_named_as_such(build: Workspace, config: BuildConfig, model: LoadedModel) -> None:
    values: dict[str, Any] = config.model_dump()
    values["verify"] |= {"backends": ("onnxruntime-unfused",), "fidelity_images": 100}
    run = verify(build, BuildConfig.parse(values), model, Progress(quiet=True), measure_speed=no_speed)
    fidelity = next(item for item in run.fidelity if item.backend == "onnxruntime-unfused")
    if fidelity.differing:
        assert fidelity.explanation is not None and "border of two codes" in fidelity.explanation


def test_ties_that_fall_the_other_way_are_named_as_such(pristine_build: Path) -> None:
    """Numbers at ties of the input's grid; the runtime's codes are those of a kernel that multiplies by 1/scale."""
    path = pristine_build / "model.onnx"
    content = onnx.load(path)
    oracle = oracle_backend(pristine_build)
    part = next(item for item in oracle.module.modules() if getattr(item, "name", None) == "input")
    scale = np.float32(0.0123)  # one whose reciprocal is not exact at ties
    part.scale.fill_(float(scale))
    ties = ((np.arange(-40, 40, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.float32)
    batch = np.resize(ties, (2, 3, 32, 32)).astype(np.float32)
    multiplied = np.clip(np.rint(batch * (np.float32(1) / scale)), part.lo, part.hi).astype(np.int32)
    _, expected = oracle.codes(batch)
    differing = int((multiplied != expected["input"]).sum())
    assert 0 < differing < batch.size / 2
    found = {**expected, "input": multiplied}
    fidelity = BackendFidelity(
        backend="tensorrt", against="oracle", images=2, codes=batch.size, differing=differing, largest=1,
        first_diverging="input", outputs_largest=0, quantizers=(),
    )  # fmt: skip
    case = Case(fidelity, oracle, (batch, expected, found), content, quantizers(content), None, 60.0)
    explained = explain(case)
    assert explained.explanation is not None and "ties are rounded the other way at input" in explained.explanation
    assert any(f"{differing:,} lie at a tie" in line for line in explained.evidence)
