"""Concatenations: what a quantized one joins shares its scale, before and after learning."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from export.fold import fold
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.progress import Progress
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.hooks import record_codes, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationsInMemory
from genq_export.quantization.algorithms.qat import EpochStore, train
from genq_export.quantization.algorithms.reconstruction import learn
from genq_export.quantization.blocks import split
from genq_export.quantization.method import BlockImages
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Settings = Callable[..., QuantizeConfig]


class Branches(nn.Module):
    """Two branches joined, the result joined with a third: `joined` names what makes their last tensors."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.left = nn.Sequential(nn.Conv2d(4, 4, 1), activation())
        self.right = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), activation())
        self.third = nn.Sequential(nn.Conv2d(4, 4, 1), activation())
        self.last = nn.Conv2d(12, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        inner = torch.cat([self.left(x), self.right(3 * x)], 1)
        y = torch.cat([torch.max_pool2d(inner, 2), torch.max_pool2d(self.third(x), 2)], 1)
        logits: Tensor = self.head(torch.relu(self.last(y)).mean((2, 3)))
        return logits


class Dense(nn.Module):
    """A dense layer: BatchNorm behind the concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.grow = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.norm(torch.cat([x, self.grow(torch.relu(x))], 1)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def ranged(module: nn.Module, config: QuantizeConfig, images: Tensor, target: str) -> GraphNetwork:
    gm, _ = prepare(module.eval().requires_grad_(False), (3, 16, 16), config, rule_for(target))  # type: ignore[arg-type]
    calibrate_ranges(gm, [images])
    return gm


def learn_every_block(gm: GraphNetwork, images: Tensor, config: QuantizeConfig) -> None:
    """A few steps each, which stay whatever they do."""
    float_input = quantized_input = images
    for block in split(gm):
        with torch.no_grad():
            set_quantization(block.module, False)
            target = block.module(float_input)
            set_quantization(block.module, True)
        given = (ActivationsInMemory(x) for x in (float_input, quantized_input, target))
        learn(block, BlockImages(*given), config, seed=0)
        with torch.no_grad():
            float_input, quantized_input = target, block.module(quantized_input)


def sharing(gm: GraphNetwork) -> list[ActivationQuantizer]:
    parts = [part for part in gm.modules() if isinstance(part, ActivationQuantizer)]
    leaders = {part.leader for part in parts if part.leader is not part}
    return [part for part in parts if part.leader in leaders]


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Identity])
def test_all_that_is_joined_has_one_scale_until_the_end(
    settings: Settings, images: Tensor, target: str, activation: type[nn.Module]
) -> None:
    torch.manual_seed(0)
    config = settings(4, reconstruction={"activation_lr": 1e-2}, qat={"epochs": 1, "scale_lr": 1e-2})
    gm = ranged(Branches(activation), config, images, target)
    found = sharing(gm)
    assert len(found) == 5  # two concatenations and three branches
    before = float(found[0].scale)
    assert {float(part.scale) for part in found} == {before}
    assert len({(part.grid, part.asymmetric, int(part.zero_point)) for part in found}) == 1
    assert found[0].grid.signed == (activation is not nn.ReLU and not found[0].asymmetric)
    learn_every_block(gm, images, config)
    assert len({float(part.scale) for part in found}) == 1 and float(found[0].scale) != before
    train(gm, images, config, 0, EpochStore(lambda: None, lambda state: None), Progress(quiet=True))
    assert len({float(part.scale) for part in found}) == 1
    codes, folded = record_codes(gm, images)[1], record_codes(fold(gm), images)[1]
    assert all(torch.equal(codes[name], folded[name]) for name in codes)


def test_a_concatenation_in_front_of_batch_norm_joins_numbers(settings: Settings, images: Tensor) -> None:
    assert sharing(ranged(Dense(), settings(4), images, "onnxruntime")) == []
