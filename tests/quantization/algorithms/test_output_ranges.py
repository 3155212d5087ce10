"""A range is chosen by what it does to the answers: large numbers of no consequence are clipped, others are not."""

import pytest
import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cost import answers_db, far_from_float
from genq_export.quantization.algorithms.output_ranges import refine_by_answers
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from genq_export.tasks.tensors import TENSORS

SIZE = (3, 8, 8)


class Outlier(nn.Module):
    """One of sixteen channels is two hundred times the others; what reads it counts it or not."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 4, 1)
        self.first.weight.data[5] *= 200
        self.second.weight.data[:, 5] *= 1 if counts else 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))  # type: ignore[no-any-return]


def prepared(counts: bool) -> tuple[GraphNetwork, Tensor]:
    images = torch.randn(32, *SIZE, generator=torch.Generator().manual_seed(1))
    settings = QuantizeConfig.model_validate({"weight_bits": 8, "activation_bits": 8})
    graph, _ = prepare(Outlier(counts).eval().requires_grad_(False), SIZE, settings, rule_for("onnxruntime"))
    calibrate_ranges(graph, [images])
    return graph, images


def scales(graph: GraphNetwork) -> list[float]:
    """Of the images, behind the first layer and behind the second."""
    return [float(part.scale) for part in graph.modules() if isinstance(part, ActivationQuantizer)][:3]


def test_what_the_answers_do_not_see_is_clipped() -> None:
    graph, images = prepared(counts=False)
    before, nearness = scales(graph), answers_db(graph, images)
    assert far_from_float(graph, images)
    assert refine_by_answers(graph, images, TENSORS.divergence)
    after = scales(graph)
    assert after[1] == pytest.approx(0.35 * before[1]) and after[0] == before[0]
    assert answers_db(graph, images) > nearness + 6
    assert all(part.enabled for part in graph.modules() if isinstance(part, ActivationQuantizer))


def test_a_network_whose_answers_are_near_float_is_left_alone() -> None:
    graph, images = prepared(counts=True)
    before = scales(graph)
    assert not far_from_float(graph, images)
    refine_by_answers(graph, images, TENSORS.divergence)
    assert scales(graph)[1] == before[1], "clipping costs what the answers see"
