"""Rounding in closed form: errors compensate each other, means are kept, few or dull inputs do no harm."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from genq_export.network import grid, range_search
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.grid import Grid
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationsInMemory
from genq_export.quantization.algorithms.gptq import (
    Chosen,
    Statistics,
    best_codes,
    compensate,
    compensated_codes,
    cross_product,
    inverse_factor,
    output_error,
    regressed,
    regression_error,
    validated_damping,
    windows,
)
from genq_export.quantization.blocks import split
from genq_export.quantization.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
FOUR_BITS = Grid(4, signed=True)


def weights(seed: int, groups: int = 1, rows: int = 6, inputs: int = 70) -> Tensor:
    return torch.randn(groups, rows, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def correlated(seed: int, groups: int = 1, inputs: int = 70) -> Tensor:
    """A covariance in which every input resembles the others."""
    x = weights(seed, groups, 4 * inputs, inputs) + weights(seed + 1, groups, 4 * inputs, 1)
    return x.mT @ x / x.shape[1]


def searched(weight: Tensor) -> Tensor:
    return range_search.search_weight_scale(weight.flatten(0, 1), FOUR_BITS).double().view(weight.shape[:2])


def nearest(weight: Tensor, scale: Tensor) -> Tensor:
    return grid.quantize(weight, scale[:, :, None], FOUR_BITS.lo, FOUR_BITS.hi)


def in_order(hessian: Tensor) -> Tensor:
    return torch.arange(hessian.shape[1]).expand(hessian.shape[:2])


@limits(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_inputs_that_do_not_resemble_each_other_leave_rounding_to_nearest(seed: int, groups: int) -> None:
    weight = weights(seed, groups)
    scale = searched(weight)
    hessian = torch.diag_embed(torch.rand(groups, 70, dtype=torch.float64) + 0.1)
    codes = compensated_codes(weight, scale, inverse_factor(hessian, in_order(hessian)), FOUR_BITS)
    assert torch.equal(codes, nearest(weight, scale))


@limits(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_errors_make_up_for_each_other(seed: int, groups: int) -> None:
    weight, hessian = weights(seed, groups), correlated(seed + 7, groups)
    scale = searched(weight)
    plain = output_error(nearest(weight, scale) * scale[:, :, None] - weight, hessian)
    codes, found = best_codes(weight, scale, hessian, FOUR_BITS)
    assert codes.min() >= FOUR_BITS.lo and codes.max() <= FOUR_BITS.hi
    assert bool((found > 0).all())
    assert float(output_error(codes * found[:, :, None] - weight, hessian).mean()) < 0.8 * float(plain.mean())


def test_groups_are_solved_apart() -> None:
    weight, hessian = weights(1, 3), correlated(2, 3)
    scale = searched(weight)
    together = best_codes(weight, scale, hessian, FOUR_BITS)
    for group in range(3):
        part = slice(group, group + 1)
        codes, found = best_codes(weight[part], scale[part], hessian[part], FOUR_BITS)
        assert torch.equal(codes, together[0][part]) and torch.allclose(found, together[1][part])


def statistics(x: Tensor, x_hat: Tensor) -> Statistics:
    """Of windows [K, n], one group, as if their means were nothing."""
    zero = torch.zeros(1, len(x), dtype=torch.float64)
    least = torch.full((1,), 1e-12, dtype=torch.float64)
    return Statistics(zero, zero, (x_hat @ x_hat.T / x.shape[1])[None], (x @ x_hat.T / x.shape[1])[None], least)


@limits(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_regression_undoes_what_a_changed_input_does(seed: int) -> None:
    mixing = torch.eye(20, dtype=torch.float64) + 0.1 * weights(seed, 1, 20, 20)[0]
    x, weight = weights(seed, 1, 20, 100)[0], weights(seed + 3, inputs=20)
    found = regressed(weight, statistics(x, mixing @ x), 0.0)
    assert torch.allclose(found @ mixing, weight, atol=1e-6)


def test_damping_that_outweighs_the_inputs_keeps_the_weights() -> None:
    x, weight = weights(4, 1, 70, 300)[0], weights(5)
    assert torch.allclose(regressed(weight, statistics(3 * x, x), 1e9), weight, atol=1e-5)


@limits(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([0.03, 0.3, 3.0, 30.0]))
def test_the_error_of_a_regression_is_that_of_its_answers(seed: int, share: float) -> None:
    x, noise, weight = weights(seed, 1, 20, 90)[0], weights(seed + 1, 1, 20, 90)[0], weights(seed + 2, inputs=20)
    x_hat = x + 0.3 * noise
    on = statistics(x, x_hat)
    found = regressed(weight, on, share)
    error = (found[0] @ x_hat - weight[0] @ x).square().sum() - (weight[0] @ x).square().sum()
    assert regression_error(found, on, cross_product(weight, on)) == pytest.approx(float(error) / 90, abs=1e-6)


@limits(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_few_images_ask_for_more_damping_than_many(seed: int) -> None:
    """With fewer positions than inputs a regression without damping would answer these very positions."""

    def chosen(positions: int) -> float:
        halves = []
        for half in range(2):
            x = weights(seed + half, 1, 40, positions)[0]
            halves.append(statistics(x, x + 0.4 * weights(seed + half + 7, 1, 40, positions)[0]))
        return validated_damping(weights(seed + 5, inputs=40), halves)

    assert chosen(20) > chosen(4000)


def test_one_half_alone_asks_for_the_most_damping() -> None:
    x = weights(1, 1, 20, 90)[0]
    assert validated_damping(weights(2, inputs=20), [statistics(x, x)]) == 30.0


GEOMETRIES: tuple[dict[str, Any], ...] = (
    {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1},
    {"stride": [2, 1], "padding": [1, 2], "dilation": [1, 1], "groups": 2},
    {"stride": [1, 1], "padding": [2, 2], "dilation": [2, 2], "groups": 4},
)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_windows_times_weights_are_the_convolution(geometry: dict[str, Any]) -> None:
    x = torch.randn(3, 4, 9, 8)
    weight = torch.randn(8, 4 // geometry["groups"], 3, 3)
    layer = QuantizedLayer("conv", "conv2d", 4, weight, None, True, **geometry)
    found = weight.view(geometry["groups"], -1, weight[0].numel()) @ windows(layer, x)
    wanted = F.conv2d(x, weight, **geometry)
    assert torch.allclose(found.flatten(0, 1), wanted.movedim(1, 0).flatten(1), atol=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("chosen", [Chosen(2), Chosen(2, 1, 0), Chosen(3, 1, 2)])
def test_chosen_windows_are_those_at_every_so_manieth_position(geometry: dict[str, Any], chosen: Chosen) -> None:
    x, weight = torch.randn(3, 4, 17, 16), torch.randn(8, 4 // geometry["groups"], 3, 3)
    layer = QuantizedLayer("conv", "conv2d", 4, weight, None, True, **geometry)
    height, width = F.conv2d(x, weight, **geometry).shape[2:]
    at_all = windows(layer, x).unflatten(2, (3, height, width))
    wanted = at_all[..., chosen.row :: chosen.every, chosen.column :: chosen.every].flatten(2)
    assert torch.equal(windows(layer, x, chosen), wanted)


@limits(deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 2_000), st.integers(1, 2_000), st.integers(0, 100))
def test_as_many_positions_are_chosen_as_covariances_need(positions: int, inputs: int, images: int, turn: int) -> None:
    chosen = Chosen.among(positions, inputs, images, turn)
    assert 0 <= chosen.row < chosen.every and 0 <= chosen.column < chosen.every
    assert chosen.every == 1 or positions / chosen.every**2 >= max(64, 200 * inputs / images)
    assert Chosen.among(64, inputs, images, turn) == Chosen()


def test_windows_of_a_linear_layer_are_its_inputs() -> None:
    layer = QuantizedLayer("fc", "linear", 4, torch.randn(5, 6), None, False)
    x = torch.randn(2, 3, 6)
    assert torch.equal(windows(layer, x)[0].T, x.view(6, 6))


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_a_network_comes_nearer_to_float(prepared: Prepared, images: Tensor, name: str) -> None:
    gm, _ = prepared(name)
    wanted = logits(gm, images, quantized=False)
    before = (logits(gm, images, quantized=True) - wanted).square().mean()
    compensate_all(gm, images)
    after = (logits(gm, images, quantized=True) - wanted).square().mean()
    assert float(after) < 0.5 * float(before)


def test_channels_of_the_last_layer_keep_their_means(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("residual")
    compensate_all(gm, images)
    difference = logits(gm, images, quantized=True).mean(0) - logits(gm, images, quantized=False).mean(0)
    assert float(difference.abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("image", "most"),
    [
        (torch.zeros(4, 3, 16, 16), 0.1),
        (torch.full((4, 3, 16, 16), 0.7), 0.2),  # equal images bear each other out, so the regression goes further
        (torch.linspace(0, 1, 768).view(1, 3, 16, 16), 0.1),
    ],
)
def test_images_that_show_nothing_leave_finite_codes_near_the_weights(
    prepared: Prepared, image: Tensor, most: float
) -> None:
    gm, _ = prepared("residual")
    compensate_all(gm, image)
    for layer in (part for part in gm.modules() if isinstance(part, QuantizedLayer)):
        off = layer.codes * grid.per_channel(layer.weight_scale, layer.weight) - layer.weight
        assert bool(torch.isfinite(layer.bias).all()) and bool((layer.weight_scale > 0).all())
        assert float(off.square().mean()) < most * float(layer.weight.square().mean())


def compensate_all(gm: GraphNetwork, images: Tensor) -> None:
    """Block after block, as the reconstruction does."""
    float_input = quantized_input = images
    for block in split(gm):
        compensate(block, ActivationsInMemory(float_input), ActivationsInMemory(quantized_input))
        with torch.no_grad():
            set_quantization(block.module, False)
            float_input = block.module(float_input)
            set_quantization(block.module, True)
            quantized_input = block.module(quantized_input)


def logits(gm: GraphNetwork, images: Tensor, quantized: bool) -> Tensor:
    set_quantization(gm, quantized)
    with torch.no_grad():
        found: Tensor = gm(images)
    set_quantization(gm, True)
    return found
