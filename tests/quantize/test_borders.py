"""Weight scales are moved until no sum of a convolution is rounded to two different codes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genq_export.config import QuantizeConfig, Target
from genq_export.quantize.borders import clear_borders, sums_in_doubt
from genq_export.quantize.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.quantize.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for


def by_brute_force(step: torch.Tensor, scale: torch.Tensor, first: int, last: int) -> list[int]:
    """Every sum whose code lies in the grid, both ways."""
    furthest = int(float(scale / step.min()) * (max(abs(first), abs(last)) + 1))
    sums = torch.arange(-furthest, furthest + 1).float()
    found = []
    for one in step:
        divided = torch.round(sums * one / scale).clamp(first, last)
        multiplied = torch.round(sums * (one / scale)).clamp(first, last)
        found.append(int((divided != multiplied).sum()))
    return found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([(0, 15), (-8, 7), (-128, 127), (-20, 235)]))
def test_every_sum_in_doubt_is_found(seed: int, grid: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    step = torch.rand(20, generator=generator) * 0.01 + 1e-4
    scale = torch.rand((), generator=generator) * 0.3 + 0.05
    assert sums_in_doubt(step, scale, *grid).tolist() == by_brute_force(step, scale, *grid)


# Of a channel of the embedded network at W4A4: its sum 389 is 8.50000072 steps of the output's grid.
INPUT_SCALE, WEIGHT_SCALE, OUTPUT_SCALE = (torch.tensor(value) for value in (0.41155836, 0.016003793, 0.30142897))


def test_a_sum_known_to_be_in_doubt() -> None:
    step = INPUT_SCALE * WEIGHT_SCALE
    assert torch.round(389 * step / OUTPUT_SCALE) == 9 and torch.round(389 * (step / OUTPUT_SCALE)) == 8
    assert sums_in_doubt(step[None], OUTPUT_SCALE, 0, 15).tolist() == [1]


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_a_scale_moves_by_hardly_anything_and_codes_stay(target: Target) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval().requires_grad_(False)
    config = QuantizeConfig(weight_bits=4, activation_bits=4, first_last_bits=4)  # type: ignore[call-arg]
    gm, _ = prepare(module, (3, 8, 8), config, rule_for(target))
    calibrate_ranges(gm, [torch.randn(4, 3, 8, 8)])
    quantizers = {part.name: part for part in gm.modules() if isinstance(part, ActivationQuantizer)}
    layer = next(part for part in gm.modules() if isinstance(part, QuantizedLayer) and part.name == "0")
    quantizers["input"].scale.copy_(INPUT_SCALE)
    quantizers["1"].scale.copy_(OUTPUT_SCALE)
    layer.weight_scale.fill_(float(WEIGHT_SCALE))
    codes = layer.codes.clone()
    assert clear_borders(gm) == 0
    assert torch.equal(layer.codes, codes)
    moved = (layer.weight_scale / WEIGHT_SCALE - 1).abs()
    if target == "tensorrt":
        assert not moved.any(), "its kernels add a float bias and divide as the reference does"
    else:
        assert float(moved.min()) > 0 and float(moved.max()) < 8e-6
        assert not sums_in_doubt(INPUT_SCALE * layer.weight_scale, OUTPUT_SCALE, 0, 15).any()
