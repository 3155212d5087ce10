"""Channels that differ in range are evened out by the weights around them, and the network stays what it was."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.network.aten import op_name
from genq_export.quantization.algorithms.channel_equalization import equalize_channels
from genq_export.quantization.capture import capture
from genq_export.quantization.channel_ties import FIXED, channel_ties

SIZE = (3, 16, 16)


class Tied(nn.Module):
    """Every way in which a factor of a channel goes on, and some in which it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise, self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 12, 3, groups=4)
        self.squeeze, self.gate = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.bent, self.straight, self.head = nn.Conv2d(12, 12, 1), nn.Conv2d(12, 12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1), F.relu(self.wide(x))], 1)
        x = self.grouped(self.depthwise(x))
        x = x * F.hardsigmoid(self.gate(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = x + self.straight(F.gelu(self.bent(x)))
        return self.head(F.relu(x).mean((2, 3)))


@pytest.fixture
def network() -> Tied:
    """Channels of every layer differ by a factor of a hundred."""
    torch.manual_seed(0)
    made = Tied().eval().requires_grad_(False)
    for part in made.modules():
        if isinstance(part, nn.Conv2d):
            factor = torch.logspace(-1, 1, part.out_channels)[torch.randperm(part.out_channels)]
            part.weight.mul_(factor[:, None, None, None])
    return made


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_network_stays_what_it_was(network: Tied, strength: float) -> None:
    images = torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(1))
    gm = capture(network, SIZE)
    assert equalize_channels(gm, [images], strength) > 0
    expected = network(images)
    assert float((gm(images) - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_channels_are_more_alike_than_before(network: Tied) -> None:
    images = torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(1))
    before = _largest_of_depthwise(capture(network, SIZE), images)
    gm = capture(network, SIZE)
    equalize_channels(gm, [images], 1.0)
    after = _largest_of_depthwise(gm, images)
    assert float(before.max() / before.median()) > 5
    assert float(after.max() / after.median()) < 2


def test_what_an_operator_bends_is_fixed(network: Tied) -> None:
    """In front of GELU, hard sigmoid and the outputs; and the images."""
    gm = capture(network, SIZE)
    ties = channel_ties(gm)
    bent = [node for node in gm.graph.nodes if any(op_name(user) in ("gelu", "hardsigmoid") for user in node.users)]
    assert len(bent) == 2
    ends = [node for node in gm.graph.nodes if node.op == "placeholder" or op_name(node) == "linear"]
    for node in (*bent, *ends):
        assert (ties.of(node) == FIXED).all(), node


def _largest_of_depthwise(gm: torch.fx.GraphModule, images: Tensor) -> Tensor:
    found: list[Tensor] = []

    class Keep(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            result = super().run_node(n)
            if op_name(n) == "conv2d" and n.meta["val"].shape[1] == 16:
                found.append(result.abs().amax((0, 2, 3)))  # type: ignore[union-attr]
            return result

    Keep(gm).run(images)
    return found[0]
