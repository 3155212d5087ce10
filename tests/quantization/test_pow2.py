"""`scales = pow2`: activation scales are powers of two from the range search to the committed network."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor, nn

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.network import grid, range_search
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.grid import Grid
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.algorithms.lsq import power_of_two_ste
from genq_export.quantization.algorithms.qat import EpochStore, train
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Settings = Callable[..., QuantizeConfig]
QUIET = Progress(quiet=True)


def is_power_of_two(scale: Tensor) -> bool:
    return math.frexp(float(scale))[0] == 0.5


def activation_scales(gm: GraphNetwork) -> list[Tensor]:
    return [part.scale for part in gm.modules() if isinstance(part, ActivationQuantizer)]


def quantized(network: nn.Module, config: QuantizeConfig, images: Tensor) -> GraphNetwork:
    gm, _ = prepare(network, (3, 16, 16), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [images])
    return gm


@limits(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1e6), st.sampled_from([Grid(4, True), Grid(4, False), Grid(8, True)]))
def test_a_searched_scale_is_the_best_power_of_two(size: float, of: Grid) -> None:
    sample = torch.linspace(-1 if of.signed else 0, 1, 101) ** 3 * size
    found = range_search.search_activation_scale(sample, of, pow2=True)

    def error(scale: Tensor) -> float:
        return float((grid.fake_quantize(sample, scale, of.lo, of.hi) - sample).abs().pow(2.4).mean())

    assert is_power_of_two(found)
    assert error(found) <= min(error(found * 2), error(found / 2)) * (1 + 1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_zero_point_goes_with_a_power_of_two(bits: int) -> None:
    sample = torch.nn.functional.gelu(torch.linspace(-4, 4, 500))
    scale, zero_point = range_search.search_asymmetric(sample, bits, pow2=True)
    assert is_power_of_two(scale) and 0 <= zero_point < 2**bits
    found = grid.fake_quantize(sample, scale, 0, 2**bits - 1, zero_point)
    assert float((found - sample).abs().mean()) < float(scale)


def test_tensors_of_nothing_get_a_usable_scale() -> None:
    for value in (0.0, 1e-45, 1e-38):
        sample = torch.full((10,), value)
        symmetric = range_search.search_activation_scale(sample, Grid(4, True), pow2=True)
        asymmetric, _ = range_search.search_asymmetric(sample, 4, pow2=True)
        for scale in (symmetric, asymmetric):
            assert is_power_of_two(scale) and bool(torch.isfinite(scale))


def test_the_exponent_rounds_forward_and_not_backward() -> None:
    scale = torch.tensor([0.3, 0.37, 1.0], requires_grad=True)
    found = power_of_two_ste(scale)
    assert found.tolist() == [0.25, 0.5, 1.0]
    (gradient,) = torch.autograd.grad(found.sum(), scale)
    assert torch.allclose(gradient, found.detach() / scale.detach())


@pytest.mark.parametrize("name", ["residual", "gated"])
def test_scales_stay_powers_of_two_through_reconstruction_and_qat(
    network: Callable[[str], nn.Module], settings: Settings, images: Tensor, name: str
) -> None:
    config = settings(
        4,
        scales="pow2",
        reconstruction={"iterations": 20, "activation_lr": 0.05},
        qat={"epochs": 1, "scale_lr": 0.05},
    )
    gm = quantized(network(name), config, images)
    assert all(is_power_of_two(scale) for scale in activation_scales(gm))
    reconstruct(gm, images, config, 0, BlockStore(lambda number: None, lambda number, state: None), QUIET)
    assert all(is_power_of_two(scale) for scale in activation_scales(gm))
    train(gm, images, config, 0, EpochStore(lambda: None, lambda state: None), QUIET)
    assert all(is_power_of_two(scale) for scale in activation_scales(gm))
    weights = [part.weight_scale for part in gm.modules() if isinstance(part, QuantizedLayer)]
    assert not all(is_power_of_two(scale) for layer in weights for scale in layer)


def test_the_option_reaches_the_config_and_bad_values_are_named() -> None:
    assert BuildConfig.for_model("resnet50", scales="pow2").quantize.scales == "pow2"
    with pytest.raises(UserError, match=r"quantize\.scales.*'float' or 'pow2'"):
        BuildConfig.for_model("resnet50", scales="pow3")  # type: ignore[arg-type]
