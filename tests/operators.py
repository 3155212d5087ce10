"""One small network for every operator that is rewritten on its way to integers: float32 [B, 3, 16, 16] -> [B, 5]."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 16


class Tokens(nn.Module):
    """Patches, `mix` over their [B, 16, 16] table, a mean and a classifier."""

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.mix = mix
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mix(self.patch(x).flatten(2).transpose(1, 2)).mean(1))
        return logits


class Image(nn.Module):
    """Two convolutions with `middle` between them, a mean and a classifier."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.last(self.middle(F.relu(self.first(x))))).mean((2, 3)))
        return logits


class Call(nn.Module):
    """A function of the module and x, with parts for it."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class FusedAttention(nn.Module):
    """`scaled_dot_product_attention`. heads: 0 for one, on three axes."""

    def __init__(self, heads: int, causal: bool = False, masked: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        tokens = torch.arange(16)
        self.register_buffer("mask", (tokens[:, None] - tokens).abs() < 5 if masked else None)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.heads:
            q, k, v = (part.reshape(batch, tokens, self.heads, -1).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.causal)
        result: Tensor = self.proj(y.transpose(1, 2).reshape(batch, tokens, width) if self.heads else y)
        return result


class LibraryAttention(nn.Module):
    """`nn.MultiheadAttention`."""

    def __init__(self, batch_first: bool, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=batch_first)
        self.batch_first, self.weights = batch_first, weights

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        y: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return y if self.batch_first else y.transpose(0, 1)


class Sums(nn.Module):
    """`einsum` of activations, and of one with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.weight = nn.Parameter(0.2 * torch.randn(2, 8, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.reshape(x.shape[0], 16, 2, 8) for part in self.qkv(x).chunk(3, -1))
        attention = torch.einsum("bnhd,bmhd->bhnm", q, k).softmax(-1)
        return torch.einsum("bnhd,hdc->bnc", torch.einsum("bhnm,bmhd->bnhd", attention, v), self.weight)


class Places(nn.Module):
    """A fixed matrix for every row of the image, and for every head: on the right, on the left, and in `einsum`."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(0.2 * torch.randn(4, 8, WIDTH))
        self.right, self.left = (nn.Parameter(0.2 * torch.randn(1, 2, 8, 8)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.einsum("bhwc,hkc->bhwk", x.reshape(-1, 4, 4, WIDTH), self.rows).reshape(-1, 16, 8)
        heads = torch.cat([rows, x[:, :, :8]], 2).reshape(-1, 16, 2, 8).transpose(1, 2)
        tokens = (self.left @ (heads @ self.right).transpose(2, 3)).transpose(2, 3)
        return tokens.transpose(1, 2).reshape(-1, 16, WIDTH)


class Matrices(nn.Module):
    """`addmm`, a fixed matrix on the left, `baddbmm`, `bmm`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.left = (nn.Parameter(0.2 * torch.randn(WIDTH, WIDTH)) for _ in range(2))
        self.bias = nn.Parameter(torch.randn(WIDTH))
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        y = torch.addmm(self.bias, x.reshape(batch * tokens, width), self.weight).reshape(batch, tokens, width)
        y = self.left @ y
        added = 0.1 * x[:, :, :1].expand(batch, tokens, tokens)
        scores = torch.baddbmm(added, self.linear(y), y.transpose(1, 2), alpha=0.3)
        return torch.bmm(scores.softmax(-1), y)


class Tied(nn.Module):
    """One linear layer called twice, and another that has its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.other.weight = self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.other(torch.relu(self.linear(F.gelu(self.linear(x)))))
        return result


class Query(nn.Module):
    """A learned query, the same for every image, through a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.to_query, self.to_pair = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        key, value = self.to_pair(x).chunk(2, -1)
        query = self.to_query(self.query.expand(x.shape[0], -1, -1))
        return (query @ key.transpose(1, 2)).softmax(-1) @ value


class Windows(nn.Module):
    """LayerNorm, then windows of a shifted and padded image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear, self.back = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, width = x.shape
        y = torch.roll(self.norm(x).reshape(batch, 4, 4, width), (1, 1), (1, 2))
        y = F.pad(y, (0, 0, 0, 2, 0, 2)).reshape(batch, 3, 2, 3, 2, width).transpose(2, 3)
        result: Tensor = self.back(F.gelu(self.linear(y.reshape(batch * 9, 4, width))))
        return result.reshape(batch, 36, width)


class Lines(nn.Module):
    """Conv1d with BatchNorm1d over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding="same")
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x.transpose(1, 2)))).transpose(1, 2)


class Planes(nn.Module):
    """Conv3d with a kernel of size 1 along one axis, over channels as depth."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        size, padding = [3, 3, 3], [1, 1, 1]
        size[axis], padding[axis] = 1, 0
        self.conv = nn.Conv3d(1, 2, size, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, None])[:, 1]


class Enlarging(nn.Module):
    """A transposed convolution with BatchNorm and ReLU behind it, and as many pixels as before behind these."""

    def __init__(self, kernel: int, stride: int, **settings: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(8, 8, kernel, stride, **settings)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.enlarge(x)))


class LongLines(nn.Module):
    """ConvTranspose1d over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(WIDTH, WIDTH, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)


class MixedWeights(nn.Module):
    """A convolution whose weights are another mixture for every image."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.routing = nn.Linear(8, 3)
        self.experts = nn.Parameter(0.2 * torch.randn(3, 8 * 8 // groups * 9))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        shares = self.routing(x.mean((2, 3))).sigmoid()
        weight = (shares @ self.experts).view(batch * 8, 8 // self.groups, 3, 3)
        y = F.conv2d(x.reshape(1, batch * channels, height, width), weight, None, 1, 1, groups=batch * self.groups)
        return y.permute(1, 0, 2, 3).view(batch, 8, height, width)


class OwnWeight(nn.Module):
    """A weight of its own, used beside a layer that is a child."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Conv2d(8, 8, 1)
        self.weight = nn.Parameter(0.2 * torch.randn(8, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.relu(self.child(x)), self.weight, padding=1)


class ChannelGate(nn.Module):
    """Conv1d over the means of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv(x.mean((2, 3)).view(x.shape[0], 1, -1))
        return x * gate.view(x.shape[0], -1, 1, 1).sigmoid()


def _scaled_part(module: nn.Module, x: Tensor) -> Tensor:
    x = 1.0 * x
    x[:, :4] *= 0.25
    return x


def _filled_part(module: nn.Module, x: Tensor) -> Tensor:
    x = 1.0 * x
    x[:, :2] = 0
    x[:, 2:3].fill_(0.5)
    return x


def _one_in_two_concatenations(module: nn.Module, x: Tensor) -> Tensor:
    a, b = F.relu(module.a(x)), F.relu(module.b(x))
    result: Tensor = module.c(torch.cat([a, b], 1)) + module.d(torch.cat([b, module.b(x)], 1))
    return result


def _relu_beside_signed(module: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = module.c(torch.cat([F.relu(module.a(x)), module.b(x)], 1))
    return result


def _twice(module: nn.Module, x: Tensor) -> Tensor:
    """One number times one tensor, computed for each of two products."""
    other: Tensor = module.a(x).transpose(1, 2)
    scores = (0.3 * x) @ other
    return (scores + (0.3 * x) @ F.gelu(other)).softmax(-1) @ module.b(x)


def _under_autocast(module: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        y: Tensor = module.linear(x)
        scores = (y @ x.transpose(1, 2)).softmax(-1)
    return scores @ y


class _One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def _pointwise() -> dict[str, nn.Module]:
    return {"a": nn.Conv2d(8, 8, 1), "b": nn.Conv2d(8, 8, 1), "c": nn.Conv2d(16, 8, 1), "d": nn.Conv2d(16, 8, 1)}


def max_pool_of_padded(_: nn.Module, x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """The largest of numbers below zero in every window, beyond the edge as well."""
    return F.max_pool2d(F.pad(-x, sides, value=float("-inf")), 3, 2)


OPERATORS: dict[str, Callable[[], nn.Module]] = {
    "fused attention": lambda: Tokens(FusedAttention(2)),
    "fused attention, one head": lambda: Tokens(FusedAttention(0)),
    "fused attention, causal": lambda: Tokens(FusedAttention(2, causal=True)),
    "fused attention, masked": lambda: Tokens(FusedAttention(2, masked=True)),
    "MultiheadAttention": lambda: Tokens(LibraryAttention(batch_first=True, weights=False)),
    "MultiheadAttention, weights": lambda: Tokens(LibraryAttention(batch_first=True, weights=True)),
    "MultiheadAttention, sequence first": lambda: Tokens(LibraryAttention(batch_first=False, weights=False)),
    "TransformerEncoderLayer": lambda: Tokens(nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True)),
    "einsum": lambda: Tokens(Sums()),
    "mm": lambda: Tokens(Matrices()),
    "matrix a place": lambda: Tokens(Places()),
    "tied": lambda: Tokens(Tied()),
    "constant query": lambda: Tokens(Query()),
    "windows": lambda: Tokens(Windows()),
    "conv1d": lambda: Tokens(Lines()),
    "conv1d gate": lambda: Image(ChannelGate()),
    "conv3d, flat along the first": lambda: Image(Planes(0)),
    "conv3d, flat along the second": lambda: Image(Planes(1)),
    "conv3d, flat along the last": lambda: Image(Planes(2)),
    "transposed 2, 2": lambda: Image(Enlarging(2, 2)),
    "transposed 4, 2, padded": lambda: Image(Enlarging(4, 2, padding=1)),
    "transposed 3, 2, more rows": lambda: Image(Enlarging(3, 2, padding=1, output_padding=1)),
    "transposed 3, 3, dilated": lambda: Image(Enlarging(3, 3, padding=2, dilation=2, groups=2)),
    "transposed 2, 3, with gaps": lambda: Image(Enlarging(2, 3, groups=8, bias=False)),
    "transposed lines": lambda: Tokens(LongLines()),
    "mixed weights": lambda: Image(MixedWeights(1)),
    "mixed weights, groups": lambda: Image(MixedWeights(8)),
    "computed twice": lambda: Tokens(Call(_twice, a=nn.Linear(WIDTH, WIDTH), b=nn.Linear(WIDTH, WIDTH))),
    "times one, plus zero": lambda: Image(Call(lambda module, x: x * module.one.weight + 0, one=_One())),
    "own weight behind a child": lambda: Image(OwnWeight()),
    "under autocast, switched off": lambda: Tokens(Call(_under_autocast, linear=nn.Linear(WIDTH, WIDTH))),
    "scaled part": lambda: Image(Call(_scaled_part)),
    "filled part": lambda: Image(Call(_filled_part)),
    "pad with 1": lambda: Image(Call(lambda module, x: F.pad(x, (1, 1, 1, 1), value=1.0))),
    "pad by reflection": lambda: Image(Call(lambda module, x: F.pad(x, (1, 1, 1, 1), mode="reflect"))),
    "pad around": lambda: Image(Call(lambda module, x: F.pad(x, (1, 1, 1, 1), mode="circular"))),
    "pad, max_pool": lambda: Image(Call(lambda module, x: F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2))),
    "one in two concatenations": lambda: Image(Call(_one_in_two_concatenations, **_pointwise())),
    "ReLU beside signed": lambda: Image(Call(_relu_beside_signed, **_pointwise())),
    "average, own divisor": lambda: Image(nn.AvgPool2d(2, divisor_override=3)),
    "average, rounded up": lambda: Image(nn.AvgPool2d(4, 3, 1, ceil_mode=True)),
    "average, rounded up, own divisor": lambda: Image(nn.AvgPool2d(4, 3, 1, ceil_mode=True, divisor_override=5)),
    "pad with -inf, max_pool": lambda: Image(Call(partial(max_pool_of_padded, sides=(0, 1, 0, 1)))),
    "pad with -inf alike, max_pool": lambda: Image(Call(partial(max_pool_of_padded, sides=(1, 1, 1, 1)))),
    "average, rounded up, inside": lambda: Image(nn.AvgPool2d(4, 3, 1, ceil_mode=True, count_include_pad=False)),
}
