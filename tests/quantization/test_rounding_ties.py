"""Weight scales are moved until no sum of a convolution is rounded to two different codes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genq_export.config.build import Target
from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.rounding_ties import (
    avoid_addition_ties,
    avoid_ties,
    numbers,
    pairs_in_doubt,
    sums_in_doubt,
)
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
    assert avoid_ties(gm) == 0
    assert torch.equal(layer.codes, codes)
    moved = (layer.weight_scale / WEIGHT_SCALE - 1).abs()
    if target == "tensorrt":
        assert not moved.any(), "its kernels add a float bias and divide as the reference does"
    else:
        assert float(moved.min()) > 0 and float(moved.max()) < 8e-6
        assert not sums_in_doubt(INPUT_SCALE * layer.weight_scale, OUTPUT_SCALE, 0, 15).any()


class Residual(nn.Module):
    """One addition of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x) + self.second(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("seed", range(4))
def test_no_pair_of_an_addition_stays_in_doubt(seed: int, scales: str) -> None:
    torch.manual_seed(seed)
    config = QuantizeConfig(weight_bits=8, activation_bits=8, scales=scales)  # type: ignore[call-arg]
    gm, _ = prepare(Residual().eval().requires_grad_(False), (3, 8, 8), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [torch.randn(4, 3, 8, 8)])
    quantizers = {part.name: part for part in gm.modules() if isinstance(part, ActivationQuantizer)}
    before = {name: part.scale.clone() for name, part in quantizers.items()}
    left = avoid_addition_ties(gm)
    moved = {name for name, part in quantizers.items() if not torch.equal(part.scale, before[name])}
    assert moved <= {"add"}
    if scales == "pow2":
        assert not moved
        return
    a, b, result = (quantizers[name] for name in ("first", "second", "add"))
    first, last = result.grid.lo - int(result.zero_point), result.hi - int(result.zero_point)
    assert left == pairs_in_doubt(numbers(a), numbers(b), result.scale, first, last) == 0
    assert abs(float(result.scale / before["add"]) - 1) < 1e-4


class Chain(nn.Module):
    """A tensor that an addition and a layer read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(self.second(x) + x)  # type: ignore[no-any-return]


def test_no_code_that_is_quantized_again_stays_at_a_border() -> None:
    """Half of the wide codes lie on one where the steps are as 1 to 16."""
    config = QuantizeConfig(weight_bits=4, activation_bits=4)  # type: ignore[call-arg]
    gm, _ = prepare(Chain().eval().requires_grad_(False), (3, 8, 8), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [torch.randn(4, 3, 8, 8)])
    quantizers = {part.name: part for part in gm.modules() if isinstance(part, ActivationQuantizer)}
    wide, narrow = quantizers["first"], quantizers["first_requantized"]
    narrow.scale.copy_(wide.scale * 16)
    nothing = torch.zeros(1, dtype=torch.float64)
    assert pairs_in_doubt(numbers(wide), nothing, narrow.scale, narrow.grid.lo, narrow.hi) > 10
    avoid_addition_ties(gm)
    assert pairs_in_doubt(numbers(wide), nothing, narrow.scale, narrow.grid.lo, narrow.hi) == 0
    assert abs(float(narrow.scale / wide.scale) / 16 - 1) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_onnxruntime_adds_every_pair_as_the_reference_does(seed: int) -> None:
    """The kernel itself, on all 65,536 pairs: where none is in doubt, none differs."""
    import numpy as np

    from tests.quantization.addition import all_pairs_added

    rng = np.random.default_rng(seed)
    scales = [np.float32(rng.uniform(0.01, 0.05)) for _ in range(2)]
    zeros = rng.integers(90, 160, 3)
    terms = [(np.arange(256) - zero) * float(scale) for zero, scale in zip(zeros, scales, strict=False)]
    a, b = (torch.tensor(term, dtype=torch.float64) for term in terms)
    result = torch.tensor(max(scales) * np.float32(rng.uniform(0.8, 1.6)))
    first, last = -int(zeros[2]), 255 - int(zeros[2])
    while pairs_in_doubt(a, b, result, first, last):
        result = torch.nextafter(result, torch.tensor(1.0))
    exact = np.rint((terms[0][:, None] + terms[1]) / float(result)).clip(first, last) + zeros[2]
    assert np.array_equal(all_pairs_added(scales, zeros, result.numpy()), exact)
