"""BN sensitivity: how far one image pulls a batch away from the statistics the network was trained on.

GenQ: `D(X) = sum over BN layers l of ||mu_l(X) - mu_l||^2 + ||sigma_l(X) - sigma_l||^2`, where mu_l(X), sigma_l(X) are
the channel means and standard deviations of layer l's input over the images X and mu_l, sigma_l the running ones;
`S(x_i) = D({x_1..x_n}) - D({x_1..x_n} without x_i)`. A large positive S is dropped.

Exact from one forward pass (ours): with the sums a_i = sum of x and b_i = sum of x^2 over the positions of image i, the
statistics without image i are those of `sum a - a_i` and `sum b - b_i`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Running:
    """A layer's running statistics, float64 [channels].

    plain_sums_do: sums of x and x^2 in float32 are as good as sums around the running mean, which need another pass
    over the data. Shifting them afterwards loses the digits by which mean^2 exceeds variance: at most one of seven.
    """

    mean: torch.Tensor
    std: torch.Tensor
    plain_sums_do: bool


@dataclass(frozen=True)
class Seen:
    """What one BN layer call saw: over the positions of each image the sum and the 2-norm, float32 [images, channels].

    Of x, or of `x - running mean` where plain sums do not do. positions: values a channel has in one image.
    """

    total: torch.Tensor
    norm: torch.Tensor
    positions: int
    running: Running


@dataclass(frozen=True)
class ChannelSums:
    """Sums of `x - mu` and `(x - mu)^2` over positions around the running mean mu, float64 [images, channels]."""

    first: torch.Tensor
    second: torch.Tensor
    positions: int
    running_std: torch.Tensor


def bn_layers(module: nn.Module) -> list[_BatchNorm]:
    """BatchNorm layers with running statistics."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def recording(module: nn.Module) -> Iterator[list[Seen]]:
    """While active, every forward pass appends one `Seen` for each BN layer call to the list given."""
    seen: list[Seen] = []
    scratch = torch.empty(0)

    def hook_for(running: Running) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def record(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            nonlocal scratch
            (x,) = inputs
            if not running.plain_sums_do and (scratch.numel() < x.numel() or scratch.device != x.device):
                scratch = torch.empty(x.numel(), device=x.device)
            seen.append(look_at(x, running, scratch))

        return record

    handles = [layer.register_forward_pre_hook(hook_for(running_statistics(layer))) for layer in bn_layers(module)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def running_statistics(layer: _BatchNorm) -> Running:
    """The running statistics of a layer that has them."""
    assert layer.running_mean is not None and layer.running_var is not None
    mean, variance = layer.running_mean.double(), layer.running_var.double()
    return Running(mean, variance.sqrt(), bool(mean.square().sum() <= 9 * variance.sum()))


def look_at(x: torch.Tensor, running: Running, scratch: torch.Tensor) -> Seen:
    """Sums of a BN input, float [B, C, ...].

    scratch: float [as many or more], overwritten where plain sums do not do: fresh memory is slow.
    """
    flat = x.flatten(2) if x.dim() > 2 else x.unsqueeze(2)
    if not running.plain_sums_do:
        flat = torch.sub(flat, running.mean.to(x.dtype)[:, None], out=scratch[: flat.numel()].view(flat.shape))
    return Seen(flat.sum(2), torch.linalg.vector_norm(flat, dim=2), flat.shape[2], running)


def channel_sums(batches: Sequence[Sequence[Seen]]) -> list[ChannelSums]:
    """Join the records of several forward passes, layer call by layer call."""
    joined = []
    for parts in zip(*batches, strict=True):
        total = torch.cat([part.total for part in parts]).double()
        second = torch.cat([part.norm for part in parts]).double().square_()
        positions, running = parts[0].positions, parts[0].running
        first = total
        if running.plain_sums_do:
            first = total - positions * running.mean
            second -= (total + first).mul_(running.mean)  # sum (x - mu)^2 = sum x^2 - mu * (sum x + sum (x - mu))
        joined.append(ChannelSums(first, second, positions, running.std))
    return joined


def bn_sensitivity(layers: list[ChannelSums]) -> torch.Tensor:
    """S(x_i) of every image, float64 [images]. Zero for a single image, which no batch remains without."""
    images = layers[0].first.shape[0]
    if images < 2:
        return torch.zeros(images, dtype=torch.float64)
    total = torch.zeros(images, dtype=torch.float64, device=layers[0].first.device)
    for layer in layers:
        first, second = layer.first.sum(0), layer.second.sum(0)
        whole = _distance(first, second, images * layer.positions, layer.running_std)
        remaining = (images - 1) * layer.positions
        without = _distance(first - layer.first, second - layer.second, remaining, layer.running_std)
        total += whole - without
    return total


def _distance(first: torch.Tensor, second: torch.Tensor, count: int, running_std: torch.Tensor) -> torch.Tensor:
    """`||mu - mu_l||^2 + ||sigma - sigma_l||^2` from sums around mu_l, [..., C] -> [...]."""
    offset = first / count
    square = offset.square()
    std = (second / count).sub_(square).clamp_min_(0).sqrt_()
    return square.sum(-1) + std.sub_(running_std).square_().sum(-1)
