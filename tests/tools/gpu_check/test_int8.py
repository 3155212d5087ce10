"""Exact int8 arithmetic through torch._int_mm, tested on the CPU; `make gpu-check` runs the same on a GPU."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from export.fold import fold
from genq_export.config.quantize import QuantizeConfig
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from tools.gpu_check.int8 import compare_on, engine_validity, integer_conv2d, integer_product

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("rows", [1, 17, 64])
def test_products_of_any_size_are_exact(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    codes, weight = (torch.randint(-128, 128, (count, 37), generator=generator).to(torch.int8) for count in (rows, 5))
    assert torch.equal(integer_product(codes, weight).long(), codes.long() @ weight.long().t())


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("low", [-255, 0])
def test_convolutions_are_exact_for_all_codes(groups: int, low: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    codes = torch.randint(low, 256, (2, 8, 9, 7), generator=generator).float()
    weight = torch.randint(-128, 128, (16, 8 // groups, 3, 2), generator=generator).to(torch.int8)
    geometry = {"stride": [2, 1], "padding": [1, 0], "dilation": [1, 2], "groups": groups}
    expected = F.conv2d(codes.double(), weight.double(), None, **geometry)
    assert torch.equal(integer_conv2d(codes, weight, geometry).double(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_folded_network_has_the_codes_of_the_oracle(device: str, bits: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.SiLU(),
        nn.Conv2d(16, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval().requires_grad_(False)  # fmt: skip
    config = QuantizeConfig(weight_bits=bits, activation_bits=bits)  # type: ignore[call-arg]
    images = torch.randn(4, 3, 12, 12)
    gm, _ = prepare(module, (3, 12, 12), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [images])
    differing, total = compare_on(device, fold(gm), images)
    assert total > 0 and differing == 0


def test_a_plan_that_is_none_is_invalid_with_the_reason() -> None:
    pytest.importorskip("tensorrt_rtx")
    assert engine_validity(b"no engine" * 20).startswith("INVALID (")
