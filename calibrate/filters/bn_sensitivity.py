"""BN sensitivity: how far one image pulls a batch away from the statistics the network was trained on.

GenQ: `D(X) = sum over BN layers l of ||mu_l(X) - mu_l||^2 + ||sigma_l(X) - sigma_l||^2`, where mu_l(X), sigma_l(X) are
the channel means and standard deviations of layer l's input over the images X and mu_l, sigma_l the running ones;
`S(x_i) = D({x_1..x_n}) - D({x_1..x_n} without x_i)`. A large positive S is dropped.

Exact from one forward pass (ours): with the sums a_i = sum of x and b_i = sum of x^2 over the positions of image i, the
statistics without image i are those of `sum a - a_i` and `sum b - b_i`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from calibrate.filters.filter import Filter
from genq_export.config.calibrate import CalibrateConfig
from genq_export.models.loaded import LoadedModel


class BnSensitivityFilter(Filter):
    """Keep the images that leave the statistics of BatchNorm layers where training left them."""

    name = "bn_sensitivity"
    role = "distribution"

    def applies_to(self, model: LoadedModel) -> bool:
        """Networks with BatchNorm."""
        return bool(bn_layers(model.module))

    def recording(self, module: nn.Module, images: int) -> "AbstractContextManager[list[Seen]]":
        """What every BatchNorm layer sees."""
        return recording(module)

    def scores(
        self, records: Sequence["Sequence[Seen]"], logits: Sequence[torch.Tensor], settings: CalibrateConfig
    ) -> list[float]:
        """The sensitivity of each image within the group."""
        found: list[float] = bn_sensitivity(channel_sums(records)).tolist()
        return found

    def kept_share(self, settings: CalibrateConfig) -> float:
        """`distribution_keep`"""
        return settings.distribution_keep


BN_SENSITIVITY = BnSensitivityFilter()


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
    """Sums of x and x^2 over the positions of each image, float64 [images, all channels of all layer calls].

    positions, running_mean, running_std: float64 [channels]. Where the sums are of `x - running mean`, that is x here,
    and running_mean is zero.
    """

    first: torch.Tensor
    second: torch.Tensor
    positions: torch.Tensor
    running_mean: torch.Tensor
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


def channel_sums(batches: Sequence[Sequence[Seen]]) -> ChannelSums:
    """Join the records of several forward passes, and all layer calls side by side."""
    calls = batches[0]
    device = calls[0].total.device
    positions = [torch.full((part.total.shape[1],), float(part.positions), dtype=torch.float64) for part in calls]
    means = [r.mean if r.plain_sums_do else torch.zeros_like(r.mean) for r in (part.running for part in calls)]
    return ChannelSums(
        torch.cat([torch.cat([part.total for part in seen], 1) for seen in batches]).double(),
        torch.cat([torch.cat([part.norm for part in seen], 1) for seen in batches]).double().square_(),
        torch.cat(positions).to(device),
        torch.cat(means),
        torch.cat([part.running.std for part in calls]),
    )


def bn_sensitivity(sums: ChannelSums) -> torch.Tensor:
    """S(x_i) of every image, float64 [images]. Zero for a single image, which no batch remains without."""
    images = len(sums.first)
    if images < 2:
        return torch.zeros(images, dtype=torch.float64)
    first, second = sums.first.sum(0), sums.second.sum(0)
    return _distance(first, second, images, sums) - _distance(
        first - sums.first, second - sums.second, images - 1, sums
    )


def _distance(first: torch.Tensor, second: torch.Tensor, images: int, of: ChannelSums) -> torch.Tensor:
    """`||mu - mu_l||^2 + ||sigma - sigma_l||^2` summed over layers, from the sums over `images`, [..., C] -> [...].

    Multiplied out, with `mu^2 + sigma^2` the mean of x^2, it takes half the passes over the data.
    """
    count = images * of.positions
    mean, power = first / count, second / count
    std = torch.addcmul(power, mean, mean, value=-1).clamp_min_(0).sqrt_()
    constant = (of.running_mean.square() + of.running_std.square()).sum()
    return power.sum(-1) - 2 * (mean @ of.running_mean + std @ of.running_std) + constant
