"""Channels are known by how their outputs move, where codes went their own ways in directions that no input has."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from runtime_tests.verify.channel_response import responses
from runtime_tests.verify.layer_quality import weight_quality
from runtime_tests.verify.weight_faults import unrelated

CHANNELS, INPUTS, SCALE = 8, 32, 0.05


class Network(nn.Module):
    """A quantized linear layer behind a quantizer."""

    def __init__(self, layer: QuantizedLayer) -> None:
        super().__init__()
        self.quantizer = ActivationQuantizer("input", 8, signed=True)
        self.quantizer.scale.fill_(SCALE)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(self.quantizer(x.flatten(1)), self.quantizer.scale)
        return answer


def batches() -> list[np.ndarray]:
    """Images that differ in their first two numbers alone."""
    images = np.zeros((40, INPUTS, 1, 1), dtype=np.float32)
    images[:, :2, 0, 0] = np.random.default_rng(0).normal(size=(40, 2))
    return [images[:20], images[20:]]


@pytest.fixture
def network() -> Network:
    """Codes that are right for the first two inputs, and anything for the others."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(CHANNELS, INPUTS, generator=generator)
    layer = QuantizedLayer("fc", "linear", 4, weight, torch.randn(CHANNELS, generator=generator), bias_on_grid=False)
    layer.weight_scale.copy_(weight.abs().amax(1) / 7)
    layer.round_weight()
    layer.codes[:, 2:] = torch.randint(-8, 8, (CHANNELS, INPUTS - 2), generator=generator, dtype=torch.int8)
    return Network(layer)


def faults(network: Network, images: bool = True) -> list[str]:
    return list(unrelated(weight_quality(network, batches() if images else [])))


def test_outputs_acquit_codes_that_no_input_reaches(network: Network) -> None:
    found = responses(network, batches())["fc"]
    assert float(found.likeness.min()) > 0.95 and found.slope == pytest.approx(1, abs=0.1)
    assert faults(network, images=False) and faults(network) == []
    assert network.quantizer.enabled and network.layer.enabled


def test_faults_show_in_outputs(network: Network) -> None:
    network.layer.weight_scale.mul_(1.5)
    assert responses(network, batches())["fc"].slope == pytest.approx(1.5, abs=0.1)
    network.layer.codes[3] = 0
    assert float(responses(network, batches())["fc"].likeness[3]) == 0
    assert [fault.split(" are ")[0] for fault in faults(network)] == [
        "the codes of output channel 3 of fc have nothing of its float weight",
        "the weight scales of fc",
    ]


def test_a_channel_that_does_not_move_says_nothing(network: Network) -> None:
    network.layer.weight[2, :2] = 0
    network.layer.codes[2, :2] = 0
    found = responses(network, batches())["fc"]
    assert float(found.likeness[2]) == -1
