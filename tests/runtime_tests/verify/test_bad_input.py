"""Bad evaluation data and broken runtimes, through the whole of verify: one line each, and the others go on."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.isolation.process import IsolatedBackend
from runtime_tests.verify import gates
from runtime_tests.verify.constants import Constants
from runtime_tests.verify.results import Verification
from runtime_tests.verify.run import verify
from runtime_tests.verify.runtime_pool import OpenRuntime
from tests.runtime_tests.conftest import Edit
from tests.runtime_tests.measured import no_speed

Run = Callable[..., Verification]


@pytest.fixture
def run(build: Workspace, config: BuildConfig, model: LoadedModel) -> Run:
    """Verify the build, less latency, with some settings of `verify` changed."""

    def measured(open_runtime: OpenRuntime = IsolatedBackend, **settings: object) -> Verification:
        values = config.model_dump()
        values["verify"] |= settings
        changed, quiet = BuildConfig.parse(values), Progress(quiet=True)
        return verify(build, changed, model, quiet, measure_speed=no_speed, open_runtime=open_runtime)

    return measured


def failed(run: Verification) -> dict[str, str]:
    config = BuildConfig.for_model("fashion_resnet")
    judged, _ = gates.check(run, (), config.verify.gates, config.quantize)
    return {gate.name: gate.message for gate in judged if not gate.passed}


def folder(place: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (place / name).mkdir(parents=True, exist_ok=True)
        pixels, _ = zoo.few_shot_set()
        Image.fromarray(pixels[number]).save(place / name / f"{number}.png")
    return place


def test_three_labelled_images_are_few_and_said_to_be(run: Run, tmp_path: Path) -> None:
    measured = run(evaluation=folder(tmp_path / "x", ["bag", "bag", "dress"]), backends=("reference", "onnxruntime"))
    score = measured.accuracy["onnxruntime"]
    assert score.n == 3 and score.high - score.low > 0.4
    assert "accuracy and agreement rest on 3 images: one more or less is 33.3 points" in measured.notes
    assert measured.fidelity[0].images == 3


def test_three_images_without_labels_are_compared_with_float_only(run: Run, tmp_path: Path) -> None:
    measured = run(evaluation=folder(tmp_path / "x", ["", "", ""]), backends=("reference", "onnxruntime"))
    assert measured.accuracy == {} and measured.cost is None
    assert measured.agreement.keys() == {
        "reference_vs_float", "onnxruntime_vs_float", "onnxruntime_vs_reference"
    }  # fmt: skip
    assert measured.divergence.keys() == {"reference", "onnxruntime"}


def test_labels_of_another_network_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 2 labels .* fit no class of fashion_resnet"):
        run(evaluation=folder(tmp_path / "x", ["cat", "dog"]))
    with pytest.raises(UserError, match=r"the numbers 10 to 10 as labels .* not exactly 0 to 9"):
        run(evaluation=folder(tmp_path / "y", ["10"]))


def test_images_of_which_some_have_no_label_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 3 images .* have no label"):
        run(evaluation=folder(tmp_path / "x", ["bag", "", "dress"]))


def test_a_hanging_runtime_is_stopped_and_the_others_go_on(run: Run) -> None:
    hanging = partial(IsolatedBackend, command=[sys.executable, "-c", "import time; time.sleep(600)"])
    measured = run(open_runtime=hanging, time_limit=0.5, backends=("reference", "onnxruntime"))
    status = {item.name: (item.status, item.detail) for item in measured.backends}
    assert status["onnxruntime"] == ("failed", "onnxruntime did not answer within 0.5 s and was stopped")
    assert status["reference"][0] == "ok" and measured.accuracy.keys() == {"float", "reference"}
    assert "did not answer" in failed(measured)["agreement"]


def test_logits_that_are_not_finite_fail_the_build(plant: Callable[[Edit], Workspace], run: Run) -> None:
    def edit(model: onnx.ModelProto, constants: Constants) -> None:
        output = model.graph.output[0].name
        last = next(node for node in model.graph.node if output in node.output)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(np.nan), "nan"))
        last.output[0] = "finite"
        model.graph.node.append(onnx.helper.make_node("Add", ["finite", "nan"], [output]))

    plant(edit)
    measured = run(backends=("reference", "oracle", "onnxruntime"))
    backend = next(item for item in measured.backends if item.name == "onnxruntime")
    assert backend.non_finite == 160 and "160 images gave logits that are not finite" in backend.detail
    assert measured.accuracy["onnxruntime"].top1 == 0
    assert measured.agreement["onnxruntime_vs_reference"] == 0
    assert "differ on 160 of 160 images" in failed(measured)["agreement"]
