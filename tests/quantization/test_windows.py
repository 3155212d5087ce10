"""Windows: what a block answers to a cut is, where it is judged, what it answers to the whole map."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.blocks import Block, split
from genq_export.quantization.placement import Placement
from genq_export.quantization.prepare import prepare
from genq_export.quantization.windows import Axis, Reach, Windows, reach_of
from genq_export.targets import rule_for

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
Settings = Callable[..., QuantizeConfig]


def maps_of(gm: GraphNetwork, x: Tensor) -> list[tuple[Block, Tensor, Tensor]]:
    """Every block in float, with what it is given and what it answers."""
    found = []
    for block in split(gm):
        set_quantization(block.module, False)
        with torch.no_grad():
            answer = block.module(x)
        found.append((block, x, answer))
        x = answer
    return found


def judged_windows(gm: GraphNetwork, images: Tensor) -> int:
    """How many windows were answered as the whole maps are; all that were drawn."""
    generator, seen = torch.Generator().manual_seed(0), 0
    for block, x, answer in maps_of(gm, images):
        windows = Windows.of(block, x.shape, answer.shape, 3)
        for window in windows.draw(20, generator) if windows else ():
            with torch.no_grad():
                found = window.judged(block.module(window.given(x[0])[None])[0])
            assert torch.allclose(found, window.wanted(answer[0]), atol=1e-4)
            assert found.shape[1:] == window.wanted(answer[0]).shape[1:] and min(found.shape[1:]) >= 3
            seen += 1
    return seen


def test_cuts_are_answered_as_the_whole_map_is(prepared: Prepared, images: Tensor) -> None:
    assert judged_windows(prepared("residual")[0], images) > 0


def test_padding_at_one_side_is_met_at_that_edge(settings: Settings) -> None:
    """As networks that come from TensorFlow pad in front of strides."""
    torch.manual_seed(0)
    convolutions = (nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2))
    module = nn.Sequential(*convolutions, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    gm, _ = prepare(module, (3, 32, 32), settings(), rule_for("onnxruntime"))
    assert judged_windows(gm, torch.randn(1, 3, 32, 32)) > 0


@pytest.mark.parametrize("name", ["gated", "attention"])
def test_blocks_that_read_whole_maps_get_them(prepared: Prepared, images: Tensor, name: str) -> None:
    whole = [block for block, _, _ in maps_of(prepared(name)[0], images) if reach_of(block) is None]
    assert whole


def test_a_window_as_large_as_the_map_is_the_map(prepared: Prepared, images: Tensor) -> None:
    for block, x, answer in maps_of(prepared("residual")[0], images):
        assert Windows.of(block, x.shape, answer.shape, 4096) is None
        assert Windows.of(block, x.shape, answer.shape, None) is None


@given(
    kernel=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 2), size=st.integers(20, 40),
    window=st.integers(1, 8), data=st.data(),
)  # fmt: skip
def test_the_reach_of_a_convolution_is_what_it_reads(
    kernel: int, stride: int, dilation: int, size: int, window: int, data: st.DataObject
) -> None:
    """On rows of ones a convolution of ones counts the inputs of each position; padded ones are zeros."""
    padding = data.draw(st.integers(0, (kernel - 1) * dilation // 2))
    front, behind = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    x = torch.arange(1.0, size + 1).view(1, 1, size, 1)

    def answer(part: Tensor) -> Tensor:
        weight = torch.ones(1, 1, kernel, 1)
        part = torch.nn.functional.pad(part, (0, 0, front, behind))
        return torch.nn.functional.conv2d(part, weight, None, (stride, 1), (padding, 0), (dilation, 1))[0, 0, :, 0]

    whole = answer(x)
    axis = Axis.of(Reach().padded(front).through(kernel, stride, padding, dilation), size, len(whole), window)
    for place in range(axis.places):
        cut = axis.at(place)
        found = answer(x[:, :, cut.given])[cut.judged]
        assert torch.equal(found, whole[cut.wanted]) and len(found) >= min(window, len(whole))
