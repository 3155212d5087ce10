"""What is deployed is held against the float network without a label: on images that calibrated nothing, too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genq_export.config.build import BuildConfig
from genq_export.config.verify import GatesConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.files import load_reference
from genq_export.runtimes.torch_modules import TorchBackend, float_backend
from genq_export.tasks.classification import CLASSIFICATION
from genq_export.tasks.tensors import TENSORS
from runtime_tests.report.verdict import chance, verdict
from runtime_tests.verify import gates
from runtime_tests.verify.float_distance import InFloat, held_out_images, output_distances
from runtime_tests.verify.gate import Gate
from runtime_tests.verify.layer_quality import weight_quality
from runtime_tests.verify.results import Evaluation, OutputDistance, Verification
from runtime_tests.verify.run import verify
from tests.runtime_tests.measured import grids, messages, no_speed, run, score


def distance(sqnr: float | None, backend: str = "onnxruntime", images: str = "held-out") -> OutputDistance:
    return OutputDistance(backend=backend, images=images, n=32, sqnr_db=sqnr, cosine=0.9, agreement=0.5)


@pytest.mark.parametrize(
    ("bits", "from_float", "failed"),
    [
        (8, (distance(1.3),), {"float_sqnr"}),
        (8, (distance(25.0),), set()),
        (8, (distance(None),), set()),
        (8, (distance(25.0), distance(3.0, images="calibration")), {"float_sqnr"}),
        (8, (distance(25.0), distance(3.0, images="random")), set()),
        (4, (distance(5.6),), set()),
        (4, (distance(0.5),), {"float_sqnr"}),
        (4, (distance(5.6), distance(8.0, "reference")), {"added_noise"}),
        (8, (distance(30.0), distance(20.0, "reference in float")), {"graph"}),
        (8, (), {"float_sqnr"}),
    ],
)
def test_outputs_far_from_float_fail(bits: int, from_float: tuple[OutputDistance, ...], failed: set[str]) -> None:
    assert messages(run(from_float=from_float), GatesConfig(max_accuracy_loss=5), bits=bits).keys() == failed


def test_the_threshold_can_be_set() -> None:
    assert "float_sqnr" in messages(run(from_float=(distance(25.0),)), GatesConfig(min_float_sqnr=30), bits=8)


def test_held_out_images_are_the_same_everywhere_and_fit_the_network(model: LoadedModel) -> None:
    first, second = (np.concatenate(held_out_images(model)) for _ in range(2))
    assert first.shape == (32, *model.input_size) and np.array_equal(first, second)
    grey = replace(model, input_size=(1, 32, 32), mean=(0.5,), std=(0.5,))
    assert np.concatenate(held_out_images(grey)).shape == (32, 1, 32, 32)
    assert held_out_images(replace(model, input_size=(4, 32, 32))) == []


def test_outputs_of_any_shape_are_compared(model: LoadedModel) -> None:
    """A network that gives a map of features has no classes to agree on."""
    float_network = float_backend(torch.nn.Conv2d(3, 2, 3))
    other = torch.nn.Conv2d(3, 2, 3)
    other.load_state_dict(float_network.module.state_dict())
    other.weight.data *= 1.1
    backends, sets = {"x": TorchBackend("x", "x", other)}, {"held-out": held_out_images(model)}
    (found,), (figure,) = output_distances(float_network, backends, sets, TENSORS)
    assert figure.value == pytest.approx(found.sqnr_db, abs=0.01) and figure.unit == "dB"
    assert found.agreement is None and found.sqnr_db is not None and 15 < found.sqnr_db < 25


Plant = Callable[[Any], None]


def zeroed(network: Any) -> None:
    next(part for part in network.modules() if isinstance(part, QuantizedLayer)).codes[3] = 0


def scaled(network: Any) -> None:
    next(part for part in network.modules() if isinstance(part, QuantizedLayer)).weight_scale.mul_(1.5)


def swapped(network: Any) -> None:
    codes = next(part for part in network.modules() if isinstance(part, QuantizedLayer)).codes
    codes[[1, 2]] = codes[[2, 1]].clone()


def without_bias(network: Any) -> None:
    next(part for part in network.modules() if isinstance(part, QuantizedLayer)).bias.zero_()


def another_weight(network: Any) -> None:
    next(part for part in network.modules() if isinstance(part, QuantizedLayer)).weight.mul_(1.5)


@pytest.mark.parametrize("methods", [["quantize.methods=[]"], []], ids=["rounded", "learned"])
@pytest.mark.parametrize(
    ("plant", "gate"),
    [
        (zeroed, "weights"),
        (scaled, "weights"),
        (swapped, "weights"),
        (without_bias, "weights"),
        (another_weight, "graph"),
    ],
)
def test_a_fault_in_the_reference_fails_and_is_named(
    pristine_build: Path, model: LoadedModel, plant: Plant, gate: str, methods: list[str]
) -> None:
    """Every code of the file would be the oracle's all the same."""

    def failed(network: Any) -> dict[str, str]:
        backend = TorchBackend("reference", "reference", network)
        backends = {"reference": backend, "onnxruntime": backend, "reference in float": InFloat(backend)}
        sets = {"held-out": held_out_images(model)[:1]}
        found, _ = output_distances(float_backend(model.module), backends, sets, CLASSIFICATION)
        measured = run(from_float=found, weights=weight_quality(network))
        judged = gates.against_float(measured, GatesConfig(), grids(4, settings=methods))
        return {item.name: item.message for item in judged if isinstance(item, Gate) and not item.passed}

    reference = load_reference(pristine_build)
    assert failed(reference) == {}
    first = next(part for part in reference.modules() if isinstance(part, QuantizedLayer)).name
    plant(reference)
    messages = failed(reference)
    assert gate in messages and (gate == "graph" or first in messages[gate])


def test_without_evaluation_images_float_is_seen_by_what_needs_no_label(
    build: Workspace, config: BuildConfig, model: LoadedModel, few_images: Path
) -> None:
    alone = BuildConfig.parse({**config.model_dump(), "verify": {**config.verify.model_dump(), "evaluation": None}})
    calibration = sorted(few_images.rglob("*.png"))
    measured = verify(build, alone, replace(model, name="mine"), Progress(quiet=True), calibration, no_speed)
    assert {(item.backend, item.images) for item in measured.from_float} == {
        (backend, images)
        for backend in ("reference", "onnxruntime", "reference in float")
        for images in ("held-out", "calibration")
    }
    assert {item.ratio for item in measured.ranges} == {1.0}, "searched on the same images"
    judged, _ = gates.check(measured, (), alone.verify.gates, alone.quantize)
    assert all(gate.passed for gate in judged), judged
    said = verdict(measured, "onnxruntime", (), judged)
    assert said.startswith(
        "Whether the network is right was not seen, as there were no labelled images, only that the file"
    )


def judged_on(top1: float, counts: tuple[int, ...]) -> Verification:
    evaluation = Evaluation(name="e", n=sum(counts), labelled=True, class_counts=counts)
    return run(evaluation=evaluation, accuracy={name: score(top1) for name in ("float", "reference", "onnxruntime")})


@pytest.mark.parametrize(
    ("top1", "counts", "questioned"),
    [
        (0.11, (10,) * 10, True),
        (0.93, (10,) * 10, False),
        (0.50, (90, 10), True),  # always the first class would be right on 90 %
        (0.95, (90, 10), False),
        (0.53, (50, 50), True),
        (0.30, (1,) * 1000, False),
        (0.0015, (1,) * 1000, True),
    ],
)
def test_float_near_chance_is_the_first_thing_that_is_said(
    top1: float, counts: tuple[int, ...], questioned: bool
) -> None:
    measured = judged_on(top1, counts)
    assert chance(measured) == max(counts) / sum(counts)
    judged, _ = gates.check(measured, (), GatesConfig(), grids(8))
    said = verdict(measured, "onnxruntime", (), judged)
    assert said.startswith("Float itself is right on") == questioned
