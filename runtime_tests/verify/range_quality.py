"""Is the scale of every activation the one that its calibration images ask for?

Ranges are searched by the float network's activations, so the search can be repeated from a build folder: on the same
images, with quantizers off. Where no scale was learned the same ones come out; learned ones have moved, all of them
about alike.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.hooks import set_quantization
from genq_export.network.range_search import sample_of, search_range
from runtime_tests.verify.results import RangeQuality

Scales = dict[str, float]


def searched_scales(reference: nn.Module, batches: Iterable[Tensor], percentile: float | None, pow2: bool) -> Scales:
    """Search the scale of every activation quantizer anew; by name.

    Args:
        reference: In eval mode; its quantizers are switched off for a while.
        batches: float32 [B, C, H, W] each: those that ranges were searched on.
        percentile: As the build searched; None: by the least error.
        pow2: Were powers of two searched for?
    """
    parts = quantizers(reference)
    samples = _samples(reference, parts, batches, percentile is None)
    return {
        part.name: float(search_range(torch.cat(samples[part.name]), part.grid, part.asymmetric, percentile, pow2)[0])
        for part in parts
        if part.name in samples
    }


def range_quality(reference: nn.Module, searched: Scales) -> tuple[RangeQuality, ...]:
    """Hold every scale against the one searched anew.

    Quantizers that share a scale were calibrated on the tensor of one of them: they are judged by the one that fits.
    """
    ratios: dict[tuple[object, ...], float] = {}
    parts = [part for part in quantizers(reference) if part.name in searched]
    for part in parts:
        ratio = float(part.scale) / searched[part.name]
        ratios[_key(part)] = min(ratio, ratios.get(_key(part), ratio), key=lambda value: abs(math.log(value)))
    return tuple(
        RangeQuality(name=part.name, bits=part.grid.bits, ratio=round(ratios[_key(part)], 4)) for part in parts
    )


def quantizers(reference: nn.Module) -> list[ActivationQuantizer]:
    """Of a reference, in the order of its parts."""
    return [part for part in reference.modules() if isinstance(part, ActivationQuantizer)]


def _key(part: ActivationQuantizer) -> tuple[object, ...]:
    return (float(part.scale), int(part.zero_point), part.grid, part.asymmetric)


def _samples(
    reference: nn.Module, parts: list[ActivationQuantizer], batches: Iterable[Tensor], with_ends: bool
) -> dict[str, list[Tensor]]:
    """Numbers of every tensor as the float network has it, by name of the quantizer."""
    samples: dict[str, list[Tensor]] = {}

    def keep(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(part, ActivationQuantizer)
        samples.setdefault(part.name, []).append(sample_of(inputs[0], with_ends))

    handles = [part.register_forward_pre_hook(keep) for part in parts]
    set_quantization(reference, False)
    try:
        with torch.no_grad():
            for batch in batches:
                reference(batch)
    finally:
        set_quantization(reference, True)
        for handle in handles:
            handle.remove()
    return samples
