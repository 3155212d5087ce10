"""Differentiable stand-ins while a block is reconstructed: learned rounding, learned scales, dropped quantization.

* AdaRound / BRECQ: W_q = s * clip(floor(W/s) + h(v), lo, hi), h(v) = clip(sigmoid(v) * (zeta - gamma) + gamma, 0, 1)
  with gamma = -0.1, zeta = 1.1, v_0 from the fractional part. [ours] It starts from the codes that the layer has: in
  place of floor(W/s) stands the code, or the one below it where W is less, and h begins within `leeway` of the code.
* GENIE-M: s learns as well, with the base integers of the scale s_0 fixed.
* LSQ: d x^ / d s = round(x / s) - x / s inside the range, lo or hi outside.
* QDrop: each activation stays unquantized with probability p.

Scales are parametrised by their logarithm, so they are positive whatever the optimiser does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genq_export.quantize import grid
from genq_export.quantize.fake_quant import INPUT_NAME, ActivationQuantizer, QuantizedLayer
from genq_export.quantize.fused import (
    GAMMA,
    ZETA,
    drop_mask,
    quantize_with_drop,
    rounding_regulariser,
    soft_rounded,
)

_LARGEST_CHANGE = 10.0


def round_ste(x: Tensor) -> Tensor:
    """round() forward, identity backward."""
    return x + (torch.round(x) - x).detach()


def positive_scale(log_scale: Tensor, initial: Tensor) -> Tensor:
    """exp(log_scale), held within a factor e^10 of `initial` so that no step size makes it zero or infinite.

    Exactly `initial` where nothing was learned.
    """
    return initial * (log_scale - initial.log()).clamp(-_LARGEST_CHANGE, _LARGEST_CHANGE).exp()


def power_of_two_ste(scale: Tensor) -> Tensor:
    """The power of two next to `scale` by ratio; backward, the rounding of the exponent is the identity."""
    return torch.exp2(round_ste(torch.log2(scale)))


def rectified_sigmoid(v: Tensor) -> Tensor:
    """h(v) of AdaRound (arXiv 2004.10568, eq. 23), in [0, 1]."""
    return torch.clamp(torch.sigmoid(v) * (ZETA - GAMMA) + GAMMA, 0, 1)


def inverse_rectified_sigmoid(h: Tensor) -> Tensor:
    """v with h(v) = h, for h strictly inside (0, 1)."""
    return -torch.log((ZETA - GAMMA) / (h - GAMMA) - 1)


class RoundingLearner(nn.Module):
    """The weight of one layer with learned rounding `v` [C, ...] and learned scale (logarithm) [C].

    leeway: steps between a soft weight and its code at first, at most; rounded to nearest, no float weight is further
    away than a half.
    """

    base: Tensor
    initial: Tensor

    def __init__(self, layer: QuantizedLayer, leeway: float = 0.5) -> None:
        super().__init__()
        scale = grid.per_channel(layer.weight_scale, layer.weight)
        self.lo, self.hi = layer.grid.lo, layer.grid.hi
        ratio, codes = layer.weight / scale, layer.codes.float()
        below = ratio < codes
        self.register_buffer("base", torch.where(below, codes - 1, codes))
        fraction = ratio - self.base
        least, most = max(1 - leeway, 0.5), min(leeway, 0.5 - 1e-4)  # a half is rounded up
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


class ScaleLearner(nn.Module):
    """One activation quantizer with a learned scale, left out element by element with probability `drop`."""

    initial: Tensor

    def __init__(self, quantizer: ActivationQuantizer, drop: float, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("initial", quantizer.scale.clone())
        self.log_scale = nn.Parameter(quantizer.scale.log())
        zero_point = int(quantizer.zero_point)
        self.low, self.high = quantizer.grid.lo - zero_point, quantizer.hi - zero_point
        self.pow2 = quantizer.pow2
        self.drop = drop
        self._generator = generator

    def scale(self) -> Tensor:
        """The scale now, float32 scalar."""
        scale = positive_scale(self.log_scale, self.initial)
        return power_of_two_ste(scale) if self.pow2 else scale

    def forward(self, x: Tensor) -> Tensor:
        """float32 of any shape -> the same shape, quantized except where dropped."""
        dropped = drop_mask(x.numel(), self.drop, self._generator).to(x.device) if self.drop > 0 else None
        return quantize_with_drop(x.float(), self.scale(), self.low, self.high, dropped)  # autocast gives bfloat16

    @torch.no_grad()
    def commit(self, quantizer: ActivationQuantizer) -> None:
        """Write the learned scale into the quantizer."""
        quantizer.scale.copy_(self.scale())


def scale_learners(
    quantizers: Sequence[ActivationQuantizer], drop: float, generator: torch.Generator
) -> dict[ActivationQuantizer, ScaleLearner]:
    """The learner of each quantizer, in order; those that share a scale share the learner.

    The one of the network's input has none and keeps the scale that its range gave. Pixels are 256 numbers an equal
    step apart, and such is the grid. Where both steps are the same, every pixel lies half way between two codes: the
    loss jumps there, and no gradient shows it. On fashion_resnet at W4A4 a learned scale ended 1e-6 below that place;
    1e-5 above it the divergence from the float network is a third higher.
    """
    made: dict[ActivationQuantizer, ScaleLearner] = {}
    learned = [part for part in quantizers if part.leader.name != INPUT_NAME]
    for part in learned:
        if part.leader not in made:
            made[part.leader] = ScaleLearner(part, drop, generator)
    return {part: made[part.leader] for part in learned}
