"""What the number of images decides, and nothing in them, is a constant of each image."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genq_export.network.aten import op_name
from genq_export.quantization.capture import capture

SIZE = (3, 8, 8)


class Adds(nn.Module):
    """A convolution, and something that is made for as many images as there are."""

    def __init__(self, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.made = nn.Conv2d(3, 4, 3, padding=1), made

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return (y + self.made(y)).mean((2, 3))


def positions(y: Tensor) -> Tensor:
    """As DETR: cumulative sums of a mask of ones."""
    mask = torch.ones((y.shape[0], 8, 8), dtype=torch.bool)
    return (mask.cumsum(1, dtype=torch.float32) / 8).sin()[:, None]


def picked(y: Tensor) -> Tensor:
    """As transformers' masks: `arange` over the images picks rows that are all the same."""
    mask = torch.ones(len(y), 8)
    places = torch.arange(y.shape[0])[:, None]
    return mask[places, torch.arange(8)[None]][:, None, None]


def numbered(y: Tensor) -> Tensor:
    """Another number for each image: what an image gives depends on its place."""
    return torch.arange(len(y), dtype=torch.float32)[:, None, None, None]


@pytest.mark.parametrize("made", [positions, picked])
def test_it_is_one_constant(made: Callable[[Tensor], Tensor]) -> None:
    module = Adds(made).eval().requires_grad_(False)
    graph = capture(module, SIZE)
    names = [op_name(node) for node in graph.graph.nodes if op_name(node)]
    assert names == ["conv2d", "add", "mean"]
    for count in (1, 5):
        images = torch.randn(count, *SIZE)
        assert torch.allclose(graph(images), module(images), atol=1e-6)


def test_rows_that_differ_stay() -> None:
    module = Adds(numbered).eval().requires_grad_(False)
    images = torch.randn(4, *SIZE)
    assert torch.allclose(capture(module, SIZE)(images), module(images), atol=1e-6)


def test_a_class_token_stays_as_it_was() -> None:
    token = torch.randn(1, 4, 8, 8)
    graph = capture(Adds(lambda y: token.expand(len(y), -1, -1, -1)).eval().requires_grad_(False), SIZE)
    assert "of_each_image" not in str(graph.graph)


def test_code_of_the_network_reads_its_own_len_afterwards() -> None:
    capture(Adds(positions).eval().requires_grad_(False), SIZE)
    assert "len" not in globals()
