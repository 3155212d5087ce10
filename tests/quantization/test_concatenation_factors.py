"""A concatenation of unlike ranges: constants in front of it, in a network that stays what it was."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.network.aten import op_name
from genq_export.quantization.algorithms.channel_equalization import equalize_channels
from genq_export.quantization.capture import capture
from genq_export.quantization.concatenation_factors import free_concatenations, largest_by_channel

SIZE = (3, 16, 16)


class Branches(nn.Module):
    """Two branches that become one tensor; one reaches `ratio` times as far."""

    def __init__(self, ratio: float, activation: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.far, self.near = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)
        self.reader, self.activation = nn.Conv2d(11, 4, 3), activation
        self.far.weight.data.mul_(ratio)
        self.reader.weight.data[:, :6].div_(ratio)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.activation(self.far(x)), self.activation(self.near(x))], 1)
        return F.relu(self.reader(joined)).mean((2, 3))


def images() -> Tensor:
    """Noise, [8, 3, 16, 16]."""
    return torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.ReLU()])
def test_what_is_joined_is_alike_and_the_network_what_it_was(activation: nn.Module) -> None:
    network = Branches(200.0, activation).eval().requires_grad_(False)
    gm = capture(network, SIZE)
    assert equalize_channels(gm, [images()], 1.0) > 0
    expected = network(images())
    assert torch.allclose(gm(images()), expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    (joined,) = (node for node in gm.graph.nodes if op_name(node) == "cat")
    largest = largest_by_channel(gm, {joined}, [images()])[joined]
    assert float(largest.max() / largest.min()) < 4


def test_ranges_alike_need_no_constants() -> None:
    gm = capture(Branches(2.0, nn.SiLU()).eval().requires_grad_(False), SIZE)
    assert free_concatenations(gm, [images()]) == set()


def test_weights_in_front_take_up_factors_where_they_can() -> None:
    gm = capture(Branches(200.0, nn.ReLU()).eval().requires_grad_(False), SIZE)
    assert free_concatenations(gm, [images()]) == set()


def test_a_constant_that_nothing_makes_up_for_is_taken_out() -> None:
    """The joined tensor is an output."""

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.far, self.near = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 5, 3)
            self.far.weight.data.mul_(200)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([F.silu(self.far(x)), F.silu(self.near(x))], 1)

    gm = capture(Joined().eval().requires_grad_(False), SIZE)
    equalize_channels(gm, [images()], 1.0)
    assert [node for node in gm.graph.nodes if op_name(node) == "mul"] == []
