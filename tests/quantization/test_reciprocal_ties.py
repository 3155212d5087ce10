"""Scales at which dividing and multiplying round alike, and sums that keep away from borders."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.reciprocal_ties import (
    avoid_reciprocal_ties,
    borders_in_doubt,
    container_ends,
    grid_ends,
    sums_near_borders,
)
from genq_export.targets import rule_for


def network(bits: int, seed: int = 0) -> GraphNetwork:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Conv2d(4, 2, 1))
    config = QuantizeConfig(weight_bits=bits, activation_bits=bits, first_last_bits=bits)  # type: ignore[call-arg]
    gm, _ = prepare(module.eval().requires_grad_(False), (3, 12, 12), config, rule_for("openvino"))
    calibrate_ranges(gm, [torch.randn(8, 3, 12, 12)])
    return gm


def as_openvino(x: np.ndarray, scale: np.float32, container: tuple[int, int]) -> np.ndarray:
    span = np.float32(container[1]) * scale - np.float32(container[0]) * scale
    found: np.ndarray = np.rint(x * (np.float32(255) / span))
    return found


@pytest.mark.parametrize("bits", [4, 8])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_number_gets_the_same_code_both_ways(bits: int, seed: int) -> None:
    gm = network(bits, seed)
    before = {part.name: float(part.scale) for part in gm.modules() if isinstance(part, ActivationQuantizer)}
    avoid_reciprocal_ties(gm)
    for part in (part for part in gm.modules() if isinstance(part, ActivationQuantizer)):
        scale, ends = np.float32(part.scale.item()), grid_ends(part)
        assert abs(float(scale) / before[part.name] - 1) < 1.3e-4
        assert borders_in_doubt(scale, ends, container_ends(part)) == 0
        beside = (np.arange(*ends) + 0.5)[:, None] * float(scale) * (1 + np.arange(-40, 41) * 2e-8)
        x = beside.astype(np.float32)
        assert np.array_equal(np.rint(x / scale), as_openvino(x, scale, container_ends(part))), part.name


def test_a_scale_known_to_be_in_doubt_is_counted() -> None:
    scales = np.linspace(0.01, 0.011, 50, dtype=np.float32)
    assert max(borders_in_doubt(scale, (0, 255), (0, 255)) for scale in scales) > 0
    assert borders_in_doubt(np.float32(2**-6), (0, 255), (0, 255)) == 0


def test_weight_scales_move_until_no_sum_is_near_a_border() -> None:
    gm = network(4)
    layers = {part.name: part for part in gm.modules() if isinstance(part, QuantizedLayer)}
    codes = {name: part.codes.clone() for name, part in layers.items()}
    scales = {name: part.weight_scale.clone() for name, part in layers.items()}
    assert avoid_reciprocal_ties(gm) == 0
    for name, part in layers.items():
        assert torch.equal(part.codes, codes[name])
        assert float((part.weight_scale / scales[name] - 1).abs().max()) < 8e-6


def test_sums_near_borders_are_those_that_brute_force_finds() -> None:
    step, bias, scale = torch.tensor([0.01, 0.0107]), torch.tensor([0.003, -0.2]), torch.tensor(0.05)
    found = sums_near_borders(bias, torch.tensor(1.0), scale, (0, 15), step)
    sums = torch.arange(-200, 200, dtype=torch.float64)
    numbers = (sums * step.double()[:, None] + bias.double()[:, None]) / scale.double()
    near = ((numbers - 0.5) - torch.round(numbers - 0.5)).abs() < 2e-5
    assert found.tolist() == (near & (numbers > 0) & (numbers < 15)).sum(1).tolist()
