"""Activation ranges: the percentile option, and memory that does not grow with the tensors."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.network import grid, range_search
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.grid import Grid
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.placement import Placement
from genq_export.quantization.prepare import calibrate_ranges

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


def test_tails_are_clipped_at_the_nearest_rank() -> None:
    sample = torch.arange(1001.0)
    assert range_search.without_tails(sample, 99).aminmax() == (10, 990)
    assert range_search.without_tails(sample, 100).aminmax() == (0, 1000)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_grid_covers_what_is_left(bits: int) -> None:
    sample = torch.linspace(-0.2, 3.0, 1000)
    for of in (Grid(bits, True), Grid(bits, False)):
        scale = range_search.whole_range(sample, of)
        assert float(scale) * of.hi == pytest.approx(3.0)
    scale, zero_point = range_search.whole_asymmetric(sample, bits)
    found = grid.fake_quantize(sample, scale, 0, 2**bits - 1, zero_point)
    assert float((found - sample).abs().max()) <= float(scale) * 1.01
    assert float(range_search.whole_range(sample, Grid(bits, False), pow2=True)) >= 3.0 / (2**bits - 1)


def test_zeros_get_scale_one() -> None:
    assert float(range_search.whole_range(torch.zeros(9), Grid(4, True))) == 1
    assert range_search.whole_asymmetric(torch.zeros(9), 4) == (1, 0)


def test_an_outlier_counts_at_100_and_not_below(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("residual")
    (quantizer,) = (part for part in gm.modules() if isinstance(part, ActivationQuantizer) and part.name == "input")
    with_outlier = images.clone()
    with_outlier[0, 0, 0, 0] = 1000
    calibrate_ranges(gm, [with_outlier], percentile=100)
    assert float(quantizer.scale) == pytest.approx(1000 / 127)
    calibrate_ranges(gm, [with_outlier], percentile=99.9)
    assert float(quantizer.scale) < 5 / 127


def test_batches_are_looked_at_one_at_a_time(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("gated")
    alive: list[int] = []

    def batches() -> Iterator[Tensor]:
        for number in range(3):
            alive.append(number)
            yield images * (number + 1)

    assert calibrate_ranges(gm, batches(), percentile=99.99) == [] and alive == [0, 1, 2]


def test_percentiles_out_of_range_are_refused() -> None:
    config = BuildConfig.for_model("resnet50", settings=["quantize.range=percentile", "quantize.percentile=99.9"])
    assert (config.quantize.range, config.quantize.percentile) == ("percentile", 99.9)
    with pytest.raises(UserError, match=r"quantize\.percentile"):
        BuildConfig.for_model("resnet50", settings=["quantize.percentile=40"])
