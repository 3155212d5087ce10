"""Small networks, quantized, folded and exported once a session: the exporter is what costs time here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import Target
from genq_export.config.quantize import QuantizeConfig
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize.prepare import calibrate_ranges, prepare
from genq_export.targets.rule import rule_for

torch.set_num_threads(1)

SIZE = (3, 16, 16)


class ResidualNet(nn.Module):
    """Convolution with BatchNorm, a pooling, a residual block (depthwise, ReLU6), a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.act1 = nn.ReLU6()
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)
        nn.init.uniform_(self.norm.running_var, 0.01, 0.1)  # type: ignore[arg-type]  # wide enough for ReLU6 to clip

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.norm(self.stem(x))))
        y = self.body(self.act1(self.depthwise(x * 1.0)))
        logits: Tensor = self.head(torch.relu(y + x).mean((2, 3)))
        return logits


class PlainNet(nn.Module):
    """Convolutions and ReLUs in a row, without biases: what both targets hold alike.

    (A bias lies on the accumulator grid for one target and is float for the other.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.act = nn.ReLU()
        self.body = nn.Conv2d(16, 16, 3, padding=1, stride=2, bias=False)
        self.act1 = nn.ReLU()
        self.head = nn.Conv2d(16, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.act1(self.body(self.act(self.stem(x))))).mean((2, 3))
        return logits


class GatedNet(nn.Module):
    """SiLU between convolutions, which takes a zero-point where there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.silu = nn.SiLU()
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.silu(self.stem(x))).mean((2, 3)))
        return logits


class Attention(nn.Module):
    """Self-attention over the patches, without a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(self.patch(x).flatten(2).transpose(1, 2))).chunk(3, -1)
        logits: Tensor = self.head(((q @ k.transpose(-2, -1)).softmax(-1) @ v).mean(1))
        return logits


class ShiftNet(nn.Module):
    """GELU, SiLU and ReLU in front of layers that take shifted numbers: linear, and unpadded convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.act = nn.GELU()
        self.narrow = nn.Conv2d(16, 24, 1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.wide = nn.Conv2d(24, 16, 3, stride=2)
        self.gate = nn.SiLU()
        self.hidden = nn.Linear(16 * 9, 32)
        self.act1 = nn.ReLU()
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(self.pool(self.relu(self.narrow(self.act(self.stem(x))))))
        logits: Tensor = self.head(self.act1(self.hidden(self.gate(x).flatten(1))))
        return logits


NETWORKS: dict[str, type[nn.Module]] = {
    "residual": ResidualNet, "plain": PlainNet, "gated": GatedNet, "attention": Attention, "shift": ShiftNet
}  # fmt: skip
Reference = Callable[..., GraphNetwork]


@pytest.fixture
def images() -> Tensor:
    """Noise, float32 [16, 3, 16, 16]."""
    return torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(3))


@cache
def _reference(name: str, target: Target, bits: int, seed: int) -> GraphNetwork:
    torch.manual_seed(seed)
    module = NETWORKS[name]().eval().requires_grad_(False)
    ends = bits if name == "plain" else 8
    config = QuantizeConfig(weight_bits=bits, activation_bits=bits, first_last_bits=ends)  # type: ignore[call-arg]
    gm, _ = prepare(module, SIZE, config, rule_for(target))
    calibrate_ranges(gm, [torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(seed + 1))])
    return gm


@pytest.fixture
def reference() -> Reference:
    """A reference with searched ranges; not to be changed."""

    def make(name: str, target: Target = "onnxruntime", bits: int = 4, seed: int = 0) -> GraphNetwork:
        return _reference(name, target, bits, seed)

    return make


@dataclass(frozen=True)
class Exported:
    """An integer model, its ONNX file, and what the exporter said of it."""

    integer_model: GraphNetwork
    path: Path
    facts: dict[str, Any]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Export a network for a target; once for the same arguments."""

    @cache
    def make(name: str, target: Target = "onnxruntime", bits: int = 4, int4_storage: bool = True) -> Exported:
        path = tmp_path_factory.mktemp("exported") / "model.onnx"
        integer_model = fold(_reference(name, target, bits, 0))
        return Exported(integer_model, path, export_onnx(integer_model, SIZE, rule_for(target), path, int4_storage))

    return make
