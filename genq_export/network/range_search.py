"""Scales from samples: L2.4 search (BRECQ, arXiv 2102.05426), percentiles, whole ranges, powers of two."""

import math

import torch
from torch import Tensor

from genq_export.network.grid import Grid, fake_quantize

IMAGES = 256  # that activation ranges are searched on, at most
BATCH = 64  # of these at once: a sample is drawn from each batch
CLIPPED_SHARES = (0.7, 0.5, 0.35)  # of a searched scale that one may be where the answers say so
_SAMPLE_PER_BATCH = 32768


def sample_of(tensor: Tensor, with_ends: bool = True) -> Tensor:
    """Numbers of a tensor that stand for all of it, [N] on the CPU, N about 32,768 at most.

    Args:
        tensor: any shape.
        with_ends: The smallest and the largest are among them.
    """
    flat = tensor.detach().flatten()
    kept = flat[:: _step(flat.numel())]
    return (torch.cat((kept, torch.stack((flat.min(), flat.max())))) if with_ends else kept).cpu().clone()


def search_range(
    sample: Tensor, grid: Grid, asymmetric: bool = False, percentile: float | None = None, pow2: bool = False
) -> tuple[Tensor, int]:
    """Find scale and zero-point of an activation grid for a sample of its tensor.

    Args:
        sample: numbers of the tensor, any shape.
        asymmetric: The grid, unsigned then, has a zero-point.
        percentile: Do not search, but cover the numbers between the (100 - percentile)th and the percentile-th.
        pow2: as in `search_activation_scale`.

    Returns:
        Scale, float32 scalar, and zero-point; 1 and 0 for a sample of zeros.
    """
    if percentile is None:
        if asymmetric:
            return search_asymmetric(sample, grid.bits, pow2=pow2)
        return search_activation_scale(sample, grid, pow2=pow2), 0
    inner = without_tails(sample, percentile)
    if not inner.abs().max() > 0:  # hardly ever anything but zero: the tail is all there is
        inner = sample
    if asymmetric:
        return whole_asymmetric(inner, grid.bits, pow2)
    return whole_range(inner, grid, pow2), 0


def search_weight_scale(weight: Tensor, grid: Grid, power: float = 2.4, candidates: int = 40) -> Tensor:
    """Search the scale of each channel that minimises sum |w - w^|^p, from 20 % to 100 % of its range.

    Args:
        weight: float32 [C, ...].
        grid: symmetric, signed.
        power: p, 2.4 in BRECQ.
        candidates: how many scales are tried.

    Returns:
        float32 [C]; 1 for a channel of zeros.
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
    """Search the scale that minimises mean |x - x^|^p over a sample, from 10 % to 100 % of its range.

    Args:
        sample: numbers of the tensor, any shape.
        grid: without a zero-point.
        power: p.
        candidates: how many scales are tried.
        pow2: try only powers of two, from the one that covers the range down to a sixteenth of it.

    Returns:
        float32 scalar; 1 for a sample of zeros.
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
    """Search scale and zero-point of an unsigned grid, for a tensor whose negative side is short.

    The upper end is searched from 10 % to 100 % of the range; the zero-point follows from the minimum.

    Args:
        sample: numbers of the tensor, any shape.
        bits: of the grid.
        power: p of the error mean |x - x^|^p.
        candidates: how many upper ends are tried.
        pow2: as in `search_activation_scale`.

    Returns:
        Scale, float32 scalar, and zero-point; 1 and 0 for a sample of zeros.
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
    """Clip a sample to its (100 - p)th and pth percentile, by nearest rank: both ends are numbers of the sample.

    Args:
        sample: any shape.
        percentile: p, 50 to 100.

    Returns:
        All numbers, sorted, float32 [N].
    """
    ordered = sample.flatten().float().sort().values
    last = len(ordered) - 1
    low, high = ordered[round(last * (1 - percentile / 100))], ordered[round(last * percentile / 100)]
    return ordered.clamp(low, high)


def whole_range(sample: Tensor, grid: Grid, pow2: bool = False) -> Tensor:
    """Return the scale (scalar) whose grid just covers a sample; pow2: the power of two at or above it.

    A sample of zeros gets scale 1.
    """
    ends = torch.stack((sample.max() / grid.hi, sample.min() / grid.lo if grid.signed else sample.new_zeros(())))
    largest = ends.max().float()
    if not largest > 0:
        return torch.ones(())
    return _powers_of_two(largest)[0] if pow2 else largest.clamp_min(torch.finfo(torch.float32).tiny)


def whole_asymmetric(sample: Tensor, bits: int, pow2: bool = False) -> tuple[Tensor, int]:
    """Return scale and zero-point of the unsigned grid that covers a sample and zero; pow2: as in `whole_range`."""
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


def _step(count: int) -> int:
    """A stride that takes about `_SAMPLE_PER_BATCH` of `count` numbers and meets every row, column and channel.

    A stride with a common factor would take one column of every picture, or one channel, and never another.
    """
    step = max(1, count // _SAMPLE_PER_BATCH)
    while math.gcd(step, count) > 1:
        step += 1
    return step
