"""Small networks, captured and quantized once a session: tracing is what costs time here."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize.placement import Placement
from genq_export.quantize.prepare import calibrate_ranges, prepare
from genq_export.targets.rule import rule_for

torch.set_num_threads(1)

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


class ResidualNet(nn.Module):
    """Convolution with BatchNorm, a pooling, a residual block (depthwise, dilated), a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.act1 = nn.ReLU6()
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.norm(self.stem(x))))
        y = self.dilated(self.act1(self.norm1(self.depthwise(x))))
        y += x
        logits: Tensor = self.head(torch.relu_(y).mean((2, 3)))
        return logits


class GatedNet(nn.Module):
    """Convolutions with SiLU, hard-swish and GELU behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.silu = nn.SiLU()
        self.second = nn.Conv2d(8, 8, 1)
        self.swish = nn.Hardswish()
        self.third = nn.Conv2d(8, 8, 1)
        self.gelu = nn.GELU()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gelu(self.third(self.swish(self.second(self.silu(self.first(x))))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Attention(nn.Module):
    """One head of self-attention over the pixels, between LayerNorms, with a GELU MLP behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.norm1 = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)
        self.norm2 = nn.LayerNorm(8)
        self.fc1 = nn.Linear(8, 16)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(16, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.proj((q @ k.transpose(-2, -1)).softmax(-1) @ v)
        x = x + self.fc2(self.act(self.fc1(self.norm2(x))))
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits


NETWORKS: dict[str, type[nn.Module]] = {"residual": ResidualNet, "gated": GatedNet, "attention": Attention}


def _network(name: str) -> nn.Module:
    torch.manual_seed(len(name))
    module = NETWORKS[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in ((part.running_mean, -0.3, 0.3), (part.running_var, 0.3, 2.0)):
                assert tensor is not None
                tensor.uniform_(low, high)
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval().requires_grad_(False)


@pytest.fixture
def network() -> Callable[[str], nn.Module]:
    """A fresh float network by name, the same weights every time."""
    return _network


@pytest.fixture
def images() -> Tensor:
    """Noise, float32 [16, 3, 16, 16]."""
    return torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def _settings(bits: int = 4, **changes: object) -> QuantizeConfig:
    values = {"weight_bits": bits, "activation_bits": bits, "iterations": 8, "batch_size": 8} | changes
    return QuantizeConfig.model_validate(values)


@pytest.fixture
def settings() -> Callable[..., QuantizeConfig]:
    """A quantization config; keyword arguments change it."""
    return _settings


@cache
def _prepared(name: str, target: str, bits: int) -> tuple[GraphNetwork, Placement]:
    gm, placement = prepare(_network(name), (3, 16, 16), _settings(bits), rule_for(target))  # type: ignore[arg-type]
    calibrate_ranges(gm, [torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(3))])
    return gm, placement


@pytest.fixture
def prepared() -> Prepared:
    """A quantized graph with searched ranges, to change at will, and its placement."""

    def make(name: str, target: str = "onnxruntime", bits: int = 4) -> tuple[GraphNetwork, Placement]:
        gm, placement = _prepared(name, target, bits)
        return copy.deepcopy(gm), placement

    return make
