"""What no honest quantization does to weights and ranges, in words; docs/limits.md has what the figures were set by."""

from collections.abc import Iterable, Iterator

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.onnx_graph import layer_names
from genq_export.network.range_search import CLIPPED_SHARES
from runtime_tests.verify.exchange import NEARER
from runtime_tests.verify.results import RangeQuality, WeightQuality, WeightRelation

# Methods behind which a code need not be the one next to its float weight, and those that move activation scales.
_LEARNING = ("gptq", "reconstruction", "bias_correction", "qat")
_LEARNING_SCALES = ("reconstruction", "qat")
# Least of one output channel's codes against its float weight, dB, by bits, where rounding was plain.
CHANNEL_SQNR = {2: 1.0, 3: 4.0, 4: 7.0, 5: 10.0, 6: 15.0, 7: 18.0, 8: 20.0}
BIAS_SQNR = 0.5  # dB of a bias that correction may have moved; one that was dropped has 0
# However codes were learned:
LIKENESS = 0.1  # cosine or correlation; what was zeroed has none
CHANCE = 1e-5  # pairs as near to each other that noise brings to a layer; a build has a hundred layers
TOO_LARGE = 1.25  # scale to the one searched anew, or slope of the output
BIAS = 0.5  # of the norm of the float bias
# Activation scale to the one searched anew: the same one on the same machine, its neighbour on another; learned ones
# shrink, to 0.67 in 1,000 steps, and hardly grow.
RANGE, RANGE_LEARNED = (0.75, 1.25), (0.25, 1.25)

_EXACT = 0.02  # of such a ratio on another machine


def learns_weights(grids: QuantizeConfig) -> bool:
    """Do codes leave their float weights on purpose?"""
    return any(grids.uses(method) for method in _LEARNING)


def not_rounded(items: Iterable[WeightQuality]) -> Iterator[str]:
    """Channels and biases that plain rounding cannot have left, a phrase each."""
    for item in items:
        if item.worst_db is not None and item.worst_db < CHANNEL_SQNR[item.bits]:
            yield (
                f"the codes of output channel {item.worst_channel} of {item.name} are {item.worst_db:.1f} dB from its"
                f" float weight, {CHANNEL_SQNR[item.bits]:.0f} dB are the least of {item.bits} bits"
            )
        if item.bias_db is not None and item.bias_db < BIAS_SQNR:
            yield f"the bias of {item.name} is {item.bias_db:.1f} dB from float's"


def unrelated(items: Iterable[WeightQuality]) -> Iterator[str]:
    """Layers whose codes, scales or bias are not those of their float weight, a phrase each."""
    for item in items:
        if item.relation is not None:
            yield from _of_layer(item.name, item.relation)


def _of_layer(name: str, found: WeightRelation) -> Iterator[str]:
    if found.likeness is not None and found.likeness < LIKENESS:
        yield f"the codes of output channel {found.channel} of {name} have nothing of its float weight"
    if found.exchanged is not None and _is_exchange(found):
        yield f"output channels {layer_names([str(part) for part in found.exchanged])} of {name} are exchanged"
    large = max((value for value in (found.scale, found.slope) if value is not None), default=1.0)
    if large > TOO_LARGE:
        yield f"the weight scales of {name} are {large:.2f} times those that its float weight asks for"
    if found.bias is not None and found.bias < BIAS:
        yield f"the bias of {name} has {100 * found.bias:.0f} % of the float bias's size"


def _is_exchange(found: WeightRelation) -> bool:
    return (found.exchange or 0.0) > NEARER and (found.chance is None or found.chance < CHANCE)


def strayed(items: Iterable[RangeQuality], grids: QuantizeConfig) -> Iterator[str]:
    """Activation scales that neither a search nor learning can have left, a phrase each."""
    clipped = grids.uses("output_ranges")
    least, most = RANGE_LEARNED if any(grids.uses(method) for method in _LEARNING_SCALES) else RANGE
    for item in items:
        if not least <= item.ratio <= most and not (clipped and _is_share(item.ratio)):
            yield f"the scale of {item.name} is {item.ratio:.2f} times the one that the calibration images ask for"


def _is_share(ratio: float) -> bool:
    """Is it one of those that ranges chosen by the answers have?"""
    return any(abs(ratio / share - 1) < _EXACT for share in CLIPPED_SHARES)
