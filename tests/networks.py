"""Small networks that several folders of tests quantize: float32 [B, 3, 16, 16] -> logits [B, 5], untrained."""

import torch
from torch import Tensor, nn

SIZE = (3, 16, 16)


def noise() -> Tensor:
    """Images to calibrate with and to compare on: float32 [16, 3, 16, 16]."""
    return torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(3))


def randomise_norms(module: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and weights as training leaves them; draws from torch's global generator."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in ((part.running_mean, -0.3, 0.3), (part.running_var, 0.3, 2.0)):
                assert tensor is not None
                tensor.uniform_(low, high)
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.normal_(part.bias, 0, 0.3)
    return module


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


class AttentionBlock(nn.Module):
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


class WideResidualNet(nn.Module):
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


class SiluNet(nn.Module):
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


class BareAttention(nn.Module):
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
