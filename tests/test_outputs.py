"""Networks of several outputs of any rank go all the way: named in the file, on every runtime, judged one by one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import genq_export
from genq_export import BuildConfig
from genq_export.models.answers import tried
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.files import load_integer_model, load_reference
from runtime_tests.report.model import read_report
from runtime_tests.verify.results import Verification


class Heads(nn.Module):
    """A small detector's shape: two scales, boxes and scores of each joined, and a map of the first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.fine = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.boxes = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(2))
        self.scores = nn.ModuleList(nn.Conv2d(8, 5, 1) for _ in range(2))
        self.map = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Give three tensors."""
        fine = self.fine(self.stem(x))
        maps = fine, self.coarse(fine)
        boxes = [head(part).flatten(2) for head, part in zip(self.boxes, maps, strict=True)]
        scores = [head(part).flatten(2) for head, part in zip(self.scores, maps, strict=True)]
        return {
            "boxes": 100 * torch.cat(boxes, 2).mT,
            "scores": torch.cat(scores, 2),
            "heat map": self.map(fine).sigmoid(),
        }


def config() -> BuildConfig:
    """Quick in everything."""
    settings = ["verify.latency_runs=10", "verify.latency_batches=[1]", "quantize.sensitivity=true"]
    return BuildConfig.for_model(
        "heads", bits=4, preset="quick", input_size=(3, 32, 32), generator="leaves", images=16, settings=settings
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of that network."""
    folder = tmp_path_factory.mktemp("outputs") / "build"
    genq_export.build(config(), folder, module=Heads().eval())
    return folder


NAMES = ("boxes", "scores", "heat_map")


def test_outputs_have_their_names_everywhere(build: Path) -> None:
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    file = onnx.load(build / "model.onnx")
    assert tuple(output.name for output in file.graph.output) == NAMES
    found = genq_export.load(build)(images)
    with torch.no_grad():
        oracle, reference = (load(build)(torch.from_numpy(images)) for load in (load_integer_model, load_reference))
    assert {name: array.shape for name, array in found.items()} == {
        "boxes": (3, 320, 4), "scores": (3, 5, 320), "heat_map": (3, 1, 16, 16)
    }  # fmt: skip
    for name, array in found.items():
        assert np.allclose(array, oracle[name], atol=1e-4) and np.allclose(array, reference[name], atol=1e-4)


def test_the_last_layer_of_every_output_keeps_its_bits(build: Path) -> None:
    layers = {part.name: part.grid.bits for part in load_reference(build).modules() if isinstance(part, QuantizedLayer)}
    wide = {name for name, bits in layers.items() if bits == 8}
    heads = {f"network.{kind}.{scale}" for kind in ("boxes", "scores") for scale in (0, 1)}
    assert wide == {"network.stem.0", "network.map", *heads}


def test_each_output_is_held_against_float(build: Path) -> None:
    report = read_report(build)
    run: Verification = report.run
    assert report.passed, report.verdict
    assert run.task == "tensors" and {item.output for item in run.from_float} == {*NAMES}
    deployed = [item for item in run.answers if item.backend == run.deployed]
    worst = min(
        item.sqnr_db or 300 for item in run.from_float if item.backend == run.deployed and item.images == "held-out"
    )
    assert any(item.value == pytest.approx(worst, abs=0.01) for item in deployed)
    assert all(item.differing == 0 for item in run.fidelity if item.backend == run.deployed)
    assert "SQNR of" in (build / "report.html").read_text()


def test_a_dictionary_of_a_module_is_what_the_network_gives() -> None:
    assert list(tried("heads", Heads().eval(), (3, 32, 32)).shapes) == [*NAMES]
