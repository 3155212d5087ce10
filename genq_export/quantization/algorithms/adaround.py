"""AdaRound: learned rounding of weights (arXiv 2004.10568), with learned weight scales (GENIE-M).

    W_q = s * clip(floor(W/s) + h(v), lo, hi),   h(v) = clip(sigmoid(v) * (zeta - gamma) + gamma, 0, 1)

with gamma = -0.1, zeta = 1.1, v_0 from the fractional part. [ours] It starts from the codes that the layer has: in
place of floor(W/s) stands the code, or the one below it where W is less, and h begins within `init_margin` of the code.
The scale s learns as well, with the base integers of the scale s_0 fixed (GENIE-M); it is parametrised by its
logarithm, so it is positive whatever the optimiser does.
"""

import torch
from torch import Tensor, nn

from genq_export.network import grid
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.quantization.algorithms.autograd import GAMMA, ZETA, rounding_regulariser, soft_rounded
from genq_export.quantization.algorithms.lsq import positive_scale


def rectified_sigmoid(v: Tensor) -> Tensor:
    """h(v) of AdaRound (arXiv 2004.10568, eq. 23), in [0, 1]."""
    return torch.clamp(torch.sigmoid(v) * (ZETA - GAMMA) + GAMMA, 0, 1)


def inverse_rectified_sigmoid(h: Tensor) -> Tensor:
    """v with h(v) = h, for h strictly inside (0, 1)."""
    return -torch.log((ZETA - GAMMA) / (h - GAMMA) - 1)


class SoftRounding(nn.Module):
    """The weight of one layer with learned rounding `v` [C, ...] and learned scale (logarithm) [C].

    Args:
        layer: whose codes and scales learning begins from.
        init_margin: steps between a soft weight and its code at first, at most; rounded to nearest, no float weight is
            further away than a half.
    """

    base: Tensor
    initial: Tensor

    def __init__(self, layer: QuantizedLayer, init_margin: float = 0.5) -> None:
        super().__init__()
        scale = grid.per_channel(layer.weight_scale, layer.weight)
        self.lo, self.hi = layer.grid.lo, layer.grid.hi
        ratio, codes = layer.weight / scale, layer.codes.float()
        below = ratio < codes
        self.register_buffer("base", torch.where(below, codes - 1, codes))
        fraction = ratio - self.base
        least, most = max(1 - init_margin, 0.5), min(init_margin, 0.5 - 1e-4)  # a half is rounded up
        fraction = torch.where(below, fraction.clamp(least, 1 - 1e-4), fraction.clamp(1e-4, most))
        self.v = nn.Parameter(inverse_rectified_sigmoid(fraction))
        self.register_buffer("initial", layer.weight_scale.clone())
        self.log_scale = nn.Parameter(layer.weight_scale.log())

    def forward(self) -> Tensor:
        """Soft-rounded weight, float32 [C, ...]."""
        scale = grid.per_channel(positive_scale(self.log_scale, self.initial), self.v)
        return soft_rounded(self.v, self.base, scale, self.lo, self.hi)

    def regulariser(self, beta: float) -> Tensor:
        """sum(1 - |2h - 1|^beta): zero once every h is 0 or 1."""
        return rounding_regulariser(self.v, beta)

    @torch.no_grad()
    def commit(self, layer: QuantizedLayer) -> None:
        """Write hard-rounded codes and the learned scale into the layer."""
        rounded = self.base + (rectified_sigmoid(self.v) >= 0.5).float()
        layer.codes.copy_(rounded.clamp(self.lo, self.hi).to(torch.int8))
        layer.weight_scale.copy_(positive_scale(self.log_scale, self.initial))
