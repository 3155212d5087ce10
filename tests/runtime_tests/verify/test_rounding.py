"""Distances from the border of two codes, for tensors whose first axis counts images and for others."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genq_export.network.onnx_graph import QuantizerNode
from runtime_tests.verify.diagnosis.case import Case
from runtime_tests.verify.diagnosis.rounding import border_distances

IMAGES = 6


class Quantizer(nn.Module):
    name, zero_point = "q", 0
    scale = torch.tensor(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Network(nn.Module):
    """[B, 3] of images, in one layout or another, to the quantizer."""

    def __init__(self, layout: Any) -> None:
        super().__init__()
        self.layout, self.part = layout, Quantizer()

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.part(self.layout(images.mean((2, 3))))
        return result


@pytest.mark.parametrize(
    "layout",
    [lambda x: x, lambda x: x.repeat_interleave(4, 0), lambda x: x[None], lambda x: x.T, lambda x: x.T[None, None]],
    ids=["images", "windows", "in front of images", "behind channels", "last"],
)
def test_the_wrong_code_at_a_border_is_measured(layout: Any) -> None:
    numbers = torch.arange(IMAGES * 3, dtype=torch.float32).view(IMAGES, 3) / 7
    numbers[2, 1] = 0.25001  # half a step and a little
    network = Network(layout)
    placed = layout(numbers).numpy()
    expected = np.rint(placed / 0.5).astype(np.int32)
    found = expected - np.isclose(placed, 0.25001)
    wrong = int((found != expected).sum())
    batch = numbers[:, :, None, None].numpy()
    oracle = SimpleNamespace(module=network, device="cpu")
    case = Case(None, oracle, (batch, {"q": expected}, {"q": found}), None, (), None, 1.0)  # type: ignore[arg-type]
    measured = border_distances(case, QuantizerNode("q", "q_codes", "int8", (), (), ()))
    assert measured is not None
    assert measured.wrong == wrong > 0
    assert measured.furthest < 1e-4
