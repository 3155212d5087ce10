"""Learned activation scales, with dropped quantization."""

import pytest
import torch
from torch import Tensor

from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.quantization.algorithms.lsq import ScaleLearner


def quantizer(bits: int = 4, scale: float = 0.3, zero_point: int = 0) -> ActivationQuantizer:
    part = ActivationQuantizer("act", bits, signed=False, asymmetric=zero_point > 0)
    part.scale.fill_(scale)
    part.zero_point.fill_(zero_point)
    return part


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)) * 3


@pytest.mark.parametrize("step", [1e3, -1e3, 1e30])
def test_scales_stay_positive_and_finite_under_any_learning_rate(step: float) -> None:
    part = quantizer()
    scale = ScaleLearner(part, 0.5, torch.Generator())
    with torch.no_grad():
        scale.log_scale += step
    scale.commit(part)
    assert bool(part.scale > 0) and bool(torch.isfinite(part.scale))


def test_a_scale_that_was_not_learned_is_committed_unchanged() -> None:
    part = quantizer(scale=0.123456)
    ScaleLearner(part, 0.5, torch.Generator()).commit(part)
    assert float(part.scale) == float(torch.tensor(0.123456))


@pytest.mark.parametrize("zero_point", [0, 3])
def test_without_drop_a_learner_is_its_quantizer(zero_point: int) -> None:
    part = quantizer(zero_point=zero_point)
    x = numbers(3, 50_000)  # several pieces
    assert torch.equal(ScaleLearner(part, 0.0, torch.Generator())(x), part(x))


def test_dropped_numbers_pass_and_the_rest_is_quantized() -> None:
    part = quantizer()
    x = numbers(2, 40_000)
    found = ScaleLearner(part, 0.5, torch.Generator().manual_seed(0))(x)
    passed = found == x
    assert bool(((found == part(x)) | passed).all())
    assert 0.45 < float(passed.float().mean()) < 0.6
