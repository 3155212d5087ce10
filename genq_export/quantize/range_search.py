"""Scales from samples: L2.4 search, percentiles, whole ranges, powers of two."""

import math

import torch
from torch import Tensor

from genq_export.network.grid import Grid, fake_quantize


def search_weight_scale(weight: Tensor, grid: Grid, power: float = 2.4, candidates: int = 40) -> Tensor:
    """Per-channel scale [C] that minimises sum |w - w^|^p (p = 2.4, BRECQ), by search from 20 % to 100 % of the range.

    A channel of zeros gets scale 1.
    """
    flat = weight.flatten(1).float()
    largest = torch.maximum(flat.amax(1) / max(grid.hi, 1), -flat.amin(1) / -grid.lo)
    best_error = torch.full_like(largest, math.inf)
    best = largest.clone()
    for share in torch.linspace(0.2, 1.0, candidates):
        scale = (largest * share).clamp_min(torch.finfo(torch.float32).tiny)
        error = (fake_quantize(flat, scale[:, None], grid.lo, grid.hi) - flat).abs().pow(power).sum(1)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best = torch.where(better, scale, best)
    return torch.where(largest > 0, best, torch.ones_like(best))


def search_activation_scale(
    sample: Tensor, grid: Grid, power: float = 2.4, candidates: int = 40, pow2: bool = False
) -> Tensor:
    """Scale (scalar) that minimises mean |x - x^|^p over a sample, by search from 10 % to 100 % of its range.

    pow2: only powers of two are tried, from the one that covers the range down to a sixteenth of it.
    A sample of zeros gets scale 1.
    """
    flat = sample.flatten().float()
    largest = flat.max() / grid.hi if not grid.signed else torch.maximum(flat.max() / grid.hi, flat.min() / grid.lo)
    if not largest > 0:
        return torch.ones(())
    scales = (largest * torch.linspace(0.1, 1.0, candidates)).clamp_min(torch.finfo(torch.float32).tiny)
    if pow2:
        scales = _powers_of_two(largest)
    errors = torch.stack([_error(flat, scale, grid.lo, grid.hi, 0, power) for scale in scales])
    return scales[int(errors.argmin())]


def search_asymmetric(
    sample: Tensor, bits: int, power: float = 2.4, candidates: int = 80, pow2: bool = False
) -> tuple[Tensor, int]:
    """Scale and zero-point of an unsigned grid for a tensor whose negative side is short.

    Searches the upper end from 10 % to 100 % of the range; the zero-point follows from the minimum. pow2: as in
    `search_activation_scale`.
    """
    grid = Grid(bits, signed=False)
    flat = sample.flatten().float()
    low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 0.0)
    if not high > low:
        return torch.ones(()), 0
    found: list[tuple[float, Tensor, int]] = []
    scales = ((torch.linspace(0.1, 1.0, candidates) * high - low) / grid.hi).clamp_min(torch.finfo(torch.float32).tiny)
    if pow2:
        scales = _powers_of_two(scales[-1])
    for scale in scales:
        zero_point = int(torch.round(-low / scale).clamp(grid.lo, grid.hi))
        found.append((float(_error(flat, scale, grid.lo, grid.hi, zero_point, power)), scale, zero_point))
    _, scale, zero_point = min(found, key=lambda item: item[0])
    return scale.float(), zero_point


def without_tails(sample: Tensor, percentile: float) -> Tensor:
    """The sample [N, any shape] without its tails: numbers below the (100 - p)th and above the pth percentile clipped.

    The nearest rank is taken, so that both ends are numbers of the sample.
    """
    ordered = sample.flatten().float().sort().values
    last = len(ordered) - 1
    low, high = ordered[round(last * (1 - percentile / 100))], ordered[round(last * percentile / 100)]
    return ordered.clamp(low, high)


def whole_range(sample: Tensor, grid: Grid, pow2: bool = False) -> Tensor:
    """The scale (scalar) whose grid just covers a sample; pow2: the power of two at or above it. Zeros get scale 1."""
    ends = torch.stack((sample.max() / grid.hi, sample.min() / grid.lo if grid.signed else sample.new_zeros(())))
    largest = ends.max().float()
    if not largest > 0:
        return torch.ones(())
    return _powers_of_two(largest)[0] if pow2 else largest.clamp_min(torch.finfo(torch.float32).tiny)


def whole_asymmetric(sample: Tensor, bits: int, pow2: bool = False) -> tuple[Tensor, int]:
    """Scale and zero-point of the unsigned grid that covers a sample and zero; pow2: as in `whole_range`."""
    grid = Grid(bits, signed=False)
    low, high = sample.min().clamp_max(0), sample.max().clamp_min(0)
    scale = whole_range(high - low, grid, pow2)
    return scale, int(torch.round(-low / scale).clamp(grid.lo, grid.hi))


def _powers_of_two(largest: Tensor) -> Tensor:
    """The power of two at or above `largest` (scalar), and its four lower neighbours [5]."""
    exponent = torch.ceil(torch.log2(largest)) - torch.arange(5)
    return torch.exp2(exponent).clamp_min(torch.finfo(torch.float32).tiny)


def _error(x: Tensor, scale: Tensor, lo: int, hi: int, zero_point: int, power: float) -> Tensor:
    return (fake_quantize(x, scale, lo, hi, zero_point) - x).abs().pow(power).mean()
