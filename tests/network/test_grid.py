"""The numerics contract."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genq_export.network import grid, range_search
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.grid import Grid, weight_grid

FEW = settings(deadline=None, max_examples=25)
BITS = st.integers(2, 8)
GRIDS = st.builds(Grid, BITS, st.booleans())
SCALES = st.floats(1e-6, 1e4, allow_subnormal=False).map(torch.tensor)
NUMBERS = st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=1, max_size=40).map(torch.tensor)


def fake(x: Tensor, scale: Tensor, of: Grid, zero_point: int = 0) -> Tensor:
    return grid.fake_quantize(x, scale, of.lo, of.hi, zero_point)


def error(x: Tensor, scale: Tensor, of: Grid, zero_point: int = 0) -> float:
    return float((fake(x, scale, of, zero_point) - x).abs().pow(2.4).mean())


def test_a_grid_holds_two_to_the_bits_codes() -> None:
    assert (Grid(4, True).lo, Grid(4, True).hi) == (-8, 7)
    assert (Grid(8, False).lo, Grid(8, False).hi) == (0, 255)


@given(GRIDS, SCALES, st.data())
def test_every_code_survives_the_way_to_its_number_and_back(of: Grid, scale: Tensor, data: st.DataObject) -> None:
    zero_point = 0 if of.signed else data.draw(st.integers(of.lo, of.hi))
    codes = torch.arange(of.lo, of.hi + 1).float()
    numbers = grid.dequantize(codes, scale, zero_point)
    assert torch.equal(grid.quantize(numbers, scale, of.lo, of.hi, zero_point), codes)
    assert torch.equal(grid.centered_codes(numbers, scale), codes - zero_point)


@given(GRIDS, SCALES, NUMBERS)
def test_fake_quantize_is_monotone_and_idempotent(of: Grid, scale: Tensor, numbers: Tensor) -> None:
    once = fake(numbers.sort().values, scale, of)
    assert bool((once.diff() >= 0).all())
    assert torch.equal(fake(once, scale, of), once)


@given(GRIDS, SCALES, NUMBERS)
def test_numbers_in_range_move_by_half_a_step_at_most(of: Grid, scale: Tensor, numbers: Tensor) -> None:
    inside = numbers.clamp(float(of.lo * scale), float(of.hi * scale))
    assert bool(((fake(inside, scale, of) - inside).abs() <= scale * 0.5001).all())


def test_ties_go_to_the_even_code() -> None:
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert grid.quantize(halves, torch.tensor(1.0), -8, 7).tolist() == [-2, -2, 0, 0, 2, 2]
    assert grid.quantize(halves, torch.tensor(1.0), 0, 15, 3).tolist() == [1, 1, 3, 3, 5, 5]


@FEW
@given(GRIDS, NUMBERS)
def test_activation_search_is_never_worse_than_the_whole_range(of: Grid, numbers: Tensor) -> None:
    numbers = numbers if of.signed else numbers.abs()
    found = range_search.search_activation_scale(numbers, of)
    whole = torch.maximum(numbers.max() / of.hi, numbers.min() / of.lo if of.signed else torch.tensor(0.0))
    assert float(found) > 0
    if whole > torch.finfo(torch.float32).tiny:
        assert error(numbers, found, of) <= error(numbers, whole, of) * (1 + 1e-5)


@FEW
@given(BITS, st.lists(NUMBERS.filter(lambda x: len(x) >= 4).map(lambda x: x[:4]), min_size=1, max_size=5))
def test_weight_search_is_never_worse_than_the_whole_range_in_any_channel(bits: int, rows: list[Tensor]) -> None:
    of, weight = Grid(bits, True), torch.stack(rows)
    scales = range_search.search_weight_scale(weight, of)
    for row, scale in zip(weight, scales, strict=True):
        whole = torch.maximum(row.max() / of.hi, row.min() / of.lo)
        assert float(scale) > 0
        if whole > torch.finfo(torch.float32).tiny:
            assert error(row, scale, of) <= error(row, whole, of) * (1 + 1e-5)


@FEW
@given(BITS, NUMBERS)
def test_asymmetric_grids_contain_zero_exactly(bits: int, numbers: Tensor) -> None:
    of = Grid(bits, False)
    scale, zero_point = range_search.search_asymmetric(numbers, bits)
    assert float(scale) > 0 and of.lo <= zero_point <= of.hi
    assert float(fake(torch.zeros(()), scale, of, zero_point)) == 0.0


@FEW
@given(BITS, NUMBERS)
def test_asymmetric_search_is_never_worse_than_the_whole_range(bits: int, numbers: Tensor) -> None:
    of = Grid(bits, False)
    scale, zero_point = range_search.search_asymmetric(numbers, bits)
    low, high = numbers.min().clamp(max=0), numbers.max().clamp(min=0)
    whole = (high - low) / of.hi
    if whole > 1e-30:
        at_whole = int(torch.round(-low / whole).clamp(of.lo, of.hi))
        assert error(numbers, scale, of, zero_point) <= error(numbers, whole, of, at_whole) * (1 + 1e-5)


def test_an_asymmetric_grid_covers_a_tensor_that_is_all_negative() -> None:
    numbers = torch.linspace(-0.3, -0.1, 50)
    scale, zero_point = range_search.search_asymmetric(numbers, 8)
    assert float((fake(numbers, scale, Grid(8, False), zero_point) - numbers).abs().max()) <= float(scale) * 0.51


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38])
def test_tensors_of_nothing_get_a_usable_scale(value: float) -> None:
    numbers = torch.full((2, 10), value)
    scales = [
        range_search.search_activation_scale(numbers, Grid(4, False)),
        range_search.search_activation_scale(numbers, Grid(4, True)),
        *range_search.search_weight_scale(numbers, Grid(4, True)),
        range_search.search_asymmetric(numbers, 4)[0],
    ]
    assert all(float(scale) > 0 and bool(torch.isfinite(scale)) for scale in scales)


def test_zeros_get_scale_one() -> None:
    assert float(range_search.search_activation_scale(torch.zeros(5), Grid(4, True))) == 1
    assert range_search.search_weight_scale(torch.zeros(2, 5), Grid(4, True)).tolist() == [1, 1]
    assert float(range_search.search_asymmetric(torch.zeros(5), 4)[0]) == 1


@FEW
@given(st.floats(1e-3, 1e3, allow_subnormal=False), GRIDS)
def test_a_constant_tensor_keeps_its_value(value: float, of: Grid) -> None:
    numbers = torch.full((7,), value)
    scale = range_search.search_activation_scale(numbers, of)
    assert torch.allclose(fake(numbers, scale, of), numbers, rtol=0.1)


@given(st.floats(-10, 10, allow_subnormal=False), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_a_bias_moves_by_half_an_accumulator_step_at_most(bias: float, input_scale: float, weight_scale: float) -> None:
    scales = torch.tensor(input_scale), torch.tensor([weight_scale])
    codes = grid.bias_codes(torch.tensor([bias]), *scales)
    step = (scales[0] * scales[1]).double()
    assert torch.equal(codes, codes.round())
    assert float((codes * step - torch.tensor([bias]).double()).abs()) <= float(step) * 0.5000001


def test_bias_codes_stay_within_int32() -> None:
    codes = grid.bias_codes(torch.tensor([1e3, -1e3]), torch.tensor(1e-10), torch.tensor([1e-10, 1e-10]))
    assert codes.tolist() == [2**31 - 1, -(2**31)]


def test_no_weight_gets_the_code_that_arm64_multiplies_wrong() -> None:
    """Two products of -128 and -128 exceed the 16 bits in which ONNX Runtime adds them there."""
    assert (weight_grid(8).lo, weight_grid(8).hi) == (-127, 127)
    assert (weight_grid(7).lo, weight_grid(4).lo) == (-64, -8)
    layer = QuantizedLayer("layer", "linear", 8, torch.full((1, 4), -1.0), None, bias_on_grid=True)
    layer.weight_scale.fill_(1 / 128)
    layer.round_weight()
    assert layer.codes.tolist() == [[-127] * 4]
    layer.codes.fill_(-128)
    layer.check()  # builds of earlier versions are read
