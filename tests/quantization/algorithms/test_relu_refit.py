"""ReLU in the place of GELU: what it replaces, how well layers learn to make up for it, and what a build says of it."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import genq_export
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.aten import op_name
from genq_export.pipeline.quantized import Quantized
from genq_export.quantization import run as work
from genq_export.quantization.activation_cache import ActivationsInMemory
from genq_export.quantization.algorithms.relu_refit import mlp_with_relu, mlps_of, refit, replace_gelu
from genq_export.quantization.capture import capture
from genq_export.zoo import few_shot_set
from tests.networks import SIZE

Network = Callable[[str], nn.Module]
COMMON = ["calibrate.images=32", "quantize.batch_size=8"]


class ManyGelus(nn.Module):
    """One MLP without biases among what is none: GELU behind a convolution, read twice, or of a layer read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8)
        self.up, self.act = nn.Linear(8, 16, bias=False), nn.GELU(approximate="tanh")
        self.down = nn.Linear(16, 8, bias=False)
        self.shared, self.twice, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.gelu(self.stem(x)).flatten(2).transpose(1, 2))
        x = x + self.down(self.act(self.up(x)))
        y = F.gelu(self.shared(x))
        x = self.twice(y) + y
        z = self.shared(x)
        return self.head((F.gelu(z) + z).mean(1))


def mlp(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (16, 8), "0.bias": (16,), "1.weight": (8, 16), "1.bias": (8,)}
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def with_gelu(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    hidden = F.gelu(F.linear(x, weights["0.weight"], weights["0.bias"]))
    return F.linear(hidden, weights["1.weight"], weights["1.bias"])


def built(net: nn.Module, *settings: str) -> Quantized:
    return genq_export.quantize(
        net, None, bits=8, input_size=SIZE, preset="quick", settings=[*COMMON, *settings],
        progress=Progress(quiet=True),
    )  # fmt: skip


def test_layers_learn_to_give_what_they_gave() -> None:
    weights = mlp()
    given = torch.randn(64, 9, 8, generator=torch.Generator().manual_seed(1))
    wanted = with_gelu(given, weights)
    before = float((mlp_with_relu(given, weights) - wanted).square().mean() / wanted.square().mean())
    stores = ActivationsInMemory(given), ActivationsInMemory(wanted)
    config = BuildConfig.for_model("fashion_vit", settings=["quantize.relu_refit.steps=300"]).quantize
    first, again = (refit(weights, *stores, config, seed=3) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    found = float((mlp_with_relu(given, first) - wanted).square().mean() / wanted.square().mean())
    assert found < 0.5 * before
    assert float(first["error"]) == pytest.approx(found, rel=1e-4)
    assert all(torch.equal(weights[name], value) for name, value in mlp().items())


def test_only_mlps_of_linear_layers_are_replaced() -> None:
    torch.manual_seed(0)
    module = ManyGelus().eval().requires_grad_(False)
    gm = capture(module, SIZE)
    (found,) = mlps_of(gm.graph)
    weights = found.weights(gm)
    assert sorted(weights) == ["0.weight", "1.weight"]
    before = [op_name(node) for node in gm.graph.nodes].count("gelu")
    changed = deepcopy(gm)
    replace_gelu(changed, {found.gelu: {name: 2 * value for name, value in weights.items()}})
    operators = [op_name(node) for node in changed.graph.nodes]
    assert (operators.count("gelu"), operators.count("relu")) == (before - 1, 1)
    x = torch.randn(2, *SIZE)
    plain = deepcopy(module)
    plain.act = nn.ReLU()
    plain.up.weight.mul_(2)
    plain.down.weight.mul_(2)
    assert torch.allclose(changed(x), plain(x), atol=1e-5)
    assert torch.allclose(gm(x), module(x), atol=1e-5)


def test_a_build_says_what_was_replaced_and_how_far_it_is_from_float(network: Network) -> None:
    report = built(network("attention"), "quantize.relu_refit.steps=100").report
    gate = next(gate for gate in report.gates if gate.name == "graph")
    assert gate.passed and gate.threshold == 10 and "ReLU in the place of GELU" in gate.message
    (mlp,) = report.relu_refit
    assert 0 < mlp.error < 1
    assert gate.value is not None and gate.value < 60  # without it sums in another order leave 100 dB


def test_asked_in_vain_is_said(network: Network) -> None:
    with pytest.raises(UserError, match=r"no GELU of this network.*relu_refit\.steps at 0"):
        built(network("residual"), "quantize.relu_refit.steps=10")


def test_a_killed_run_goes_on_from_the_mlps_that_are_finished(tmp_path: Path) -> None:
    files = []
    for number, pixels in enumerate(few_shot_set()[0][:8]):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    config = BuildConfig.for_model("fashion_vit", bits=8, preset="quick", settings=["quantize.relu_refit.steps=20"])
    model, progress = load_model(config.model), Progress(quiet=True)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    finished, begun = tmp_path / "finished", tmp_path / "begun"
    done = work.run(Workspace.open(whole), config, model, files, finished, progress)
    names = [entry["name"] for entry in done.summary["relu_refit"]]
    assert names == [f"blocks.{number}.mlp" for number in range(3)]
    (begun / "relu_refit").mkdir(parents=True)
    shutil.copy(min((finished / "relu_refit").iterdir()), begun / "relu_refit")
    again = work.run(Workspace.open(resumed), config, model, files, begun, progress)
    assert again.summary == done.summary
    assert (resumed / "reference.safetensors").read_bytes() == (whole / "reference.safetensors").read_bytes()
