"""`--keep-float auto`: the fewest layers in float with which the answers are as near to float's as is wanted.

Layers are ranked by what quantizing each alone costs (sensitivity.py), and the first of them stay in float: of the
numbers of layers up to half of all, the least is searched (by bisection, taking it that more layers in float are
nearer) whose answers, weights rounded to nearest and activations on their grids, are `sqnr_db` from float's. Where half
of all layers do not reach that, as few as come as near as these ([ours]).
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.activation_cost import answers, distance_db, in_float, switched
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.sensitivity import input_quantizers, measure, ranked, sample_of
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork

_RANKED, _JUDGED = 16, 32  # images: a ranking needs few
_SAME = 0.5  # dB that no layer is kept in float for


class FloatLayers(Method):
    """Leave the layers in float that cost most; the network is prepared anew without their quantizers."""

    name = "float_layers"
    phase = Phase.BITS

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Rank, and find how many are needed."""
        gm, wanted = network.graph, settings.float_layers.sqnr_db
        assert wanted is not None
        sample = sample_of(images, gm)[:_JUDGED]
        order = [cost.name for cost in ranked(measure(gm, sample[:_RANKED], divergence=context.divergence))]
        with in_float(gm):
            teacher = answers(gm, sample)

        @cache
        def reached(count: int) -> float:
            with switched(parts_of(gm, order[:count]), False):
                return distance_db(answers(gm, sample), teacher)

        before, most = reached(0), reached(len(order) // 2)
        kept = order[: _fewest(reached, len(order) // 2, min(wanted, most - _SAME))]
        if not kept:
            context.progress.say(f"  no layer stays in float: answers are {before:.1f} dB from float's")
            return Findings()
        after = reached(len(kept))
        share = 100 * _multiplications(gm, sample[:1], kept)
        network.keep_float(kept)
        context.progress.say(
            f"  {len(kept)} of {len(order)} layers stay in float ({share:.0f} % of the multiplications): answers are"
            f" {after:.1f} dB from float's, not {before:.1f}" + ("" if after >= wanted else f"; {wanted:g} are wanted")
        )
        return Findings()


FLOAT_LAYERS = FloatLayers()


def parts_of(gm: GraphNetwork, names: Sequence[str]) -> list[QuantizedLayer | ActivationQuantizer]:
    """These layers, and the quantizers of inputs that no other layer reads."""
    pairs = input_quantizers(gm)
    parts: list[QuantizedLayer | ActivationQuantizer] = [layer for layer, _ in pairs if layer.name in names]
    read_on = {quantizer for layer, quantizer in pairs if layer.name not in names}
    return parts + [quantizer for layer, quantizer in pairs if layer.name in names and quantizer not in read_on]


def _fewest(reached: Callable[[int], float], most: int, wanted: float) -> int:
    """The least count up to `most` that reaches it; `most` does."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if reached(middle) >= wanted:
            high = middle
        else:
            low = middle + 1
    return high


def _multiplications(gm: GraphNetwork, images: Tensor, names: Sequence[str]) -> float:
    """Which share of those of all quantized layers these layers do."""
    counts: dict[str, float] = {}

    def count(part: QuantizedLayer, _inputs: object, output: Tensor) -> None:
        counts[part.name] = output.numel() / len(part.weight) * part.weight.numel()

    handles = [layer.register_forward_hook(count) for layer, _ in input_quantizers(gm)]
    try:
        with torch.no_grad():
            gm(images)
    finally:
        for handle in handles:
            handle.remove()
    return sum(counts[name] for name in names) / sum(counts.values())
