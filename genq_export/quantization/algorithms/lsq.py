"""LSQ: learned activation scales (arXiv 1902.08153), with dropped quantization (QDrop, arXiv 2203.05740).

    d x^ / d s = round(x / s) - x / s inside the range, lo or hi outside

Each activation stays unquantized with probability p. A scale is parametrised by its logarithm, so it is positive
whatever the optimiser does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genq_export.network.fake_quant import INPUT_NAME, ActivationQuantizer
from genq_export.quantization.algorithms.autograd import drop_mask, quantize_with_drop

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


class ScaleLearner(nn.Module):
    """One activation quantizer with a learned scale, left out element by element with probability `drop`.

    Args:
        quantizer: whose scale learning begins from.
        drop: probability.
        generator: of what is dropped.
    """

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
        """Numbers of any shape -> the same shape and type, quantized except where dropped."""
        dropped = drop_mask(x.numel(), self.drop, self._generator).to(x.device) if self.drop > 0 else None
        return quantize_with_drop(x, self.scale(), self.low, self.high, dropped)

    @torch.no_grad()
    def commit(self, quantizer: ActivationQuantizer) -> None:
        """Write the learned scale into the quantizer."""
        quantizer.scale.copy_(self.scale())


def scale_learners(
    quantizers: Sequence[ActivationQuantizer], drop: float, generator: torch.Generator
) -> dict[ActivationQuantizer, ScaleLearner]:
    """Return the learner of each quantizer, in order; those that share a scale share the learner.

    The quantizer of the network's input has none and keeps the scale that its range gave. [ours] Pixels are 256 numbers
    an equal step apart, and such is the grid. Where both steps are the same, every pixel lies half way between two
    codes: the loss jumps there, and no gradient shows it. On fashion_resnet at W4A4 a learned scale ended 1e-6 below
    that point; 1e-5 above it the divergence from the float network is a third higher.
    """
    made: dict[ActivationQuantizer, ScaleLearner] = {}
    learned = [part for part in quantizers if part.leader.name != INPUT_NAME]
    for part in learned:
        if part.leader not in made:
            made[part.leader] = ScaleLearner(part, drop, generator)
    return {part: made[part.leader] for part in learned}
