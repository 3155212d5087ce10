"""What timm trains in branches is quantized as the one convolution that it is in use."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.quantization.prepare import prepare
from genq_export.quantization.reparameterize import reparameterized
from genq_export.targets import rule_for

SIZE = (3, 64, 64)


def _layers(module: nn.Module) -> int:
    return sum(isinstance(part, nn.Conv2d | nn.Linear) for part in module.modules())


@pytest.mark.parametrize(
    ("name", "trained", "used"),
    [
        ("repvgg_a0", 45, 23),
        pytest.param("mobileone_s0", 192, 44, marks=pytest.mark.slow),
        pytest.param("fastvit_t8", 69, 53, marks=pytest.mark.slow),
    ],
)
def test_branches_are_quantized_as_one_convolution(name: str, trained: int, used: int) -> None:
    module = timm.create_model(name, num_classes=10).eval().requires_grad_(False)
    _, placement = prepare(module, SIZE, QuantizeConfig(), rule_for("onnxruntime"))
    assert (_layers(module), len(placement.layers)) == (trained, used)


class _Branches(nn.Module):
    """A user's own, that has a method of a name that timm gives a meaning."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.own = _Fusing()

    def forward(self, x: Tensor) -> Any:
        return self.own(self.inside(x))


class _Fusing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def fuse(self) -> nn.Module:
        raise AssertionError("this is none of our business")


def test_modules_of_timm_are_found_in_a_network_of_any_kind() -> None:
    from timm.models.byobnet import MobileOneBlock

    torch.manual_seed(0)
    module = _Branches(MobileOneBlock(3, 8, 3)).eval().requires_grad_(False)
    changed = reparameterized(module, SIZE)
    noise = torch.randn(2, *SIZE)
    assert _layers(changed) == 1 < _layers(module)
    assert torch.allclose(changed(noise), module(noise), atol=1e-5)


def test_a_network_without_such_modules_is_left_alone() -> None:
    module = _Branches(nn.Conv2d(3, 8, 3)).eval()
    assert reparameterized(module, SIZE) is module


def test_what_computes_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models.byobnet import MobileOneBlock

    def empty(self: Any) -> None:
        self.reparam_conv = nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False)

    empty.__module__ = "timm.models.byobnet"
    monkeypatch.setattr(MobileOneBlock, "reparameterize", empty)
    module = _Branches(MobileOneBlock(3, 8, 3)).eval().requires_grad_(False)
    assert reparameterized(module, SIZE) is module
