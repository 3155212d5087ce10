"""Activation scales for which x / s and x * (1 / s) round every float32 to the same code.

The reference, the oracle and the file read word by word divide. OpenVINO multiplies: of a quantizer with codes lo to hi
in 8 bits it makes a FakeQuantize between fl(lo * s) and fl(hi * s), and computes

    round(x * r),   r = 255 / (fl(hi * s) - fl(lo * s))

each in float32 (found by experiment: of 262,144 sums of which 15,060 lay at a border, none was another, OpenVINO
2026.4). The two differ for the few float32 numbers beside a border between codes; but there are scales within 6e-5 of
any, and mostly within 2e-5, for which they differ for none. [ours]

Where it adds 128 to hold a signed grid in UINT8, or takes a sum apart, further roundings come in. So weight scales of
convolutions whose result is quantized move as well, until no sum lies within 2e-5 codes of a border, or as few as can
be. Sums of a convolution and a residual are too many for that; export writes those so that they are not taken apart
(export/passes/add_in_float.py), and signed grids of 8 bits so that nothing is added before a number is rounded
(export/passes/round_in_float.py).
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genq_export.network.containers import reciprocal
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.rounding_ties import quantized_convolutions, settle

_FURTHEST = 1024  # units in the last place: 6e-5 to 1.2e-4 of the scale
_BESIDE = np.arange(-4, 5, dtype=np.int32)  # both ways are within three units in the last place of the exact quotient
_NEAR = 2e-5  # codes


def avoid_reciprocal_ties(network: GraphNetwork) -> int:
    """Move activation scales and then weight scales, in place; returns for how many borders a number stays in doubt.

    Powers of two stay: nothing is in doubt there.
    """
    quantizers = [part for part in network.modules() if isinstance(part, ActivationQuantizer)]
    left = 0
    for leader in quantizers:
        if leader.leader is not leader or leader.pow2:
            continue
        members = [part for part in quantizers if part.leader is leader]
        grids = {(grid_ends(part), container_ends(part)) for part in members}
        scale, doubts = _clearest(np.float32(leader.scale.item()), grids)
        leader.scale.fill_(float(scale))
        left += doubts
    for layer, source, reader in quantized_convolutions(network):
        left += settle(layer, partial(sums_near_borders, layer.bias, source.scale, reader.scale, grid_ends(reader)))
    return left


def sums_near_borders(
    bias: Tensor, input_scale: Tensor, scale: Tensor, ends: tuple[int, int], weight_scale: Tensor
) -> Tensor:
    """How many sums lie within 2e-5 codes of a border of the result's grid, int64 [C].

    Args:
        bias: float32 [C], as is `weight_scale`.
        input_scale: float32 scalar, as is `scale`, of the result.
        ends: smallest and largest code of the result less its zero-point.
    """
    step = (input_scale * weight_scale).double()[:, None]
    borders = torch.arange(*ends, dtype=torch.float64, device=step.device) + 0.5
    below = torch.floor((borders * scale.double() - bias.double()[:, None]) / step)
    sums = torch.stack((below, below + 1), -1)
    codes = (sums * step[..., None] + bias.double()[:, None, None]) / scale.double()
    return ((codes - borders[:, None]).abs() < _NEAR).sum((1, 2))


def grid_ends(part: ActivationQuantizer) -> tuple[int, int]:
    """Smallest and largest code less the zero-point."""
    return part.grid.lo - int(part.zero_point), part.hi - int(part.zero_point)


def container_ends(part: ActivationQuantizer) -> tuple[int, int]:
    """Smallest and largest code, less the zero-point, that the 8 bits hold: INT8 where there are negative codes."""
    low = -128 if part.grid.lo < 0 else 0
    return low - int(part.zero_point), low + 255 - int(part.zero_point)


def borders_in_doubt(scale: np.float32, ends: tuple[int, int], container: tuple[int, int]) -> int:
    """At how many borders a float32 gets two codes; at all where the codes are then read with another scale.

    Args:
        scale: of the grid.
        ends: smallest and largest code, less the zero-point, of the grid.
        container: the same of what holds it.
    """
    borders = np.arange(*ends) + 0.5
    nearest = (borders * np.float64(scale)).astype(np.float32)
    numbers = (nearest.view(np.int32)[:, None] + _BESIDE).view(np.float32)
    span = np.float32(container[1]) * scale - np.float32(container[0]) * scale
    multiplied: NDArray[np.float32] = np.rint(numbers * reciprocal(scale, container))
    other_scale = bool(span / np.float32(255) != scale)
    return int((np.rint(numbers / scale) != multiplied).any(1).sum()) + len(borders) * other_scale


def _clearest(scale: np.float32, grids: set[tuple[tuple[int, int], tuple[int, int]]]) -> tuple[np.float32, int]:
    """The nearest scale with the fewest borders in doubt, and how many those are."""
    bits = np.array(scale).view(np.int32)
    fewest, best = None, scale
    for offset in sorted(range(-_FURTHEST, _FURTHEST + 1), key=abs):
        moved = np.float32((bits + np.int32(offset)).view(np.float32))
        doubts = sum(borders_in_doubt(moved, ends, container) for ends, container in grids)
        if fewest is None or doubts < fewest:
            fewest, best = doubts, moved
        if doubts == 0:
            break
    return best, fewest or 0
