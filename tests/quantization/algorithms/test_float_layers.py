"""`--keep-float auto`: the fewest layers in float with which answers are as near as is wanted."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import genq_export
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.pipeline.quantized import Quantized

SIZE = (3, 16, 16)


class Fragile(nn.Module):
    """One layer whose input reaches far while half of its numbers are small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.fragile = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.middle, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.fragile(x + 3000 * F.relu(x.mean() - 1e6) + torch.exp(4 * x.clamp(-3, 3)) / 50)
        return self.head(F.relu(self.middle(F.relu(x))).mean((2, 3)))


def built(settings: list[str], said: list[str] | None = None) -> Quantized:
    """A W8A8 build of the network above."""

    class Kept(Progress):
        def say(self, text: str) -> None:
            if said is not None:
                said.append(text)

    common = ["calibrate.images=32", "quantize.channel_equalization=false", "quantize.output_ranges=false"]
    net = Fragile().eval()
    return genq_export.quantize(
        net, None, bits=8, input_size=SIZE, preset="quick", settings=[*common, *settings], progress=Kept(quiet=True)
    )


def test_auto_beside_patterns_is_a_distance() -> None:
    config = BuildConfig.for_model("fashion_resnet", keep_float=("fc", "auto")).quantize
    assert config.keep_float == ("fc",)
    assert config.float_layers.sqnr_db == 25.0
    own = BuildConfig.for_model(
        "fashion_resnet", keep_float=("auto",), settings=["quantize.float_layers.sqnr_db=30"]
    ).quantize
    assert (own.keep_float, own.float_layers.sqnr_db) == ((), 30.0)
    assert not BuildConfig.for_model("fashion_resnet").quantize.uses("float_layers")


@pytest.mark.parametrize("wanted", [65.0, 100.0])
def test_few_layers_stay_in_float_and_are_named(wanted: float) -> None:
    said: list[str] = []
    report = built([f"quantize.float_layers.sqnr_db={wanted}"], said).report
    kept = [layer for layer in report.layers if not layer.integer]
    assert 1 <= len(kept) <= 2  # of four
    assert all("kept in float" in layer.detail for layer in kept)
    (line,) = [text for text in said if "stay in float" in text]
    assert f"{len(kept)} of 4 layers" in line and "of the multiplications" in line
    assert ("100 are wanted" in line) == (wanted == 100.0)


def test_answers_that_are_near_keep_nothing() -> None:
    said: list[str] = []
    report = built(["quantize.float_layers.sqnr_db=1"], said).report
    assert all(layer.integer for layer in report.layers)
    assert any("no layer stays in float" in text for text in said)
