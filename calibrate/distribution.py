"""BN sensitivity: how far one image pulls a batch away from the statistics the network was trained on.

GenQ: `D(X) = sum over BN layers l of ||mu_l(X) - mu_l||^2 + ||sigma_l(X) - sigma_l||^2`, where mu_l(X), sigma_l(X) are
the channel means and standard deviations of layer l's input over the images X and mu_l, sigma_l the running ones;
`S(x_i) = D({x_1..x_n}) - D({x_1..x_n} without x_i)`. A large positive S is dropped.

Exact from one forward pass (ours): with the sums a_i = sum of x and b_i = sum of x^2 over the positions of image i, the
statistics without image i are those of `sum a - a_i` and `sum b - b_i`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class ChannelSums:
    """What one BN layer saw: float64 sums over positions, [images, channels] each, and the running statistics.

    first, second: sums of `x - mu` and `(x - mu)^2`; sums around the running mean lose no digits to cancellation.
    positions: values a channel has in one image.
    """

    first: torch.Tensor
    second: torch.Tensor
    positions: int
    running_std: torch.Tensor


def bn_layers(module: nn.Module) -> list[_BatchNorm]:
    """BatchNorm layers with running statistics."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def recording(module: nn.Module) -> Iterator[list[ChannelSums]]:
    """While active, every forward pass appends one `ChannelSums` for each BN layer call to the list given."""
    seen: list[ChannelSums] = []
    scratch = torch.empty(0)

    def record(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal scratch
        assert isinstance(layer, _BatchNorm)
        if scratch.numel() < inputs[0].numel() or scratch.device != inputs[0].device:
            scratch = torch.empty(inputs[0].numel(), device=inputs[0].device)
        seen.append(channel_sums(inputs[0], layer, scratch))

    handles = [layer.register_forward_pre_hook(record) for layer in bn_layers(module)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def channel_sums(x: torch.Tensor, layer: _BatchNorm, scratch: torch.Tensor) -> ChannelSums:
    """Sums of a BN input, float [B, C, ...]. scratch: float [as many or more], overwritten: fresh memory is slow."""
    assert layer.running_mean is not None and layer.running_var is not None
    flat = x.flatten(2) if x.dim() > 2 else x.unsqueeze(2)
    centred = torch.sub(flat, layer.running_mean[:, None], out=scratch[: flat.numel()].view(flat.shape))
    first = centred.sum(2).double()
    second = torch.linalg.vector_norm(centred, dim=2).double().square()
    return ChannelSums(first, second, flat.shape[2], layer.running_var.double().sqrt())


def concatenate(batches: list[list[ChannelSums]]) -> list[ChannelSums]:
    """Join the records of several forward passes, layer call by layer call."""
    return [
        ChannelSums(
            torch.cat([part.first for part in parts]),
            torch.cat([part.second for part in parts]),
            parts[0].positions,
            parts[0].running_std,
        )
        for parts in zip(*batches, strict=True)
    ]


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
    std = (second / count - offset.square()).clamp_min(0).sqrt()
    return offset.square().sum(-1) + (std - running_std).square().sum(-1)
