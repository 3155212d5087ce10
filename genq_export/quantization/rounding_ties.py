"""Weight scales for which an integer kernel rounds every sum as the reference does.

The code of a convolution's sum n (an integer, bias included) is, with step = s_x * s_w[c] and the output's scale s_y,

    round((n * step) / s_y)         in the reference, in the oracle, and in the file read word by word
    round(n * (step / s_y))         in ONNX Runtime's integer convolution, which rescales a sum once

each in float32. They differ for a sum within a few float32 roundings of the border between two codes. One such code
is off by one and the layers behind it spread it: three of them made 1,777 in fashion_resnet at W4A4. But a channel has
few borders, at 4 bits fifteen, and only the two sums beside each can be in doubt. So the weight scale moves by a few
units in the last place, far below what it means, until no sum is in doubt. At 8 bits a channel has 255 borders: where
some doubt stays, the scale with the least is taken. With power-of-two scales there is none: s_x / s_y is exact.

A residual addition is of two codes, so there are 65,536 sums at 8 bits at most, and ONNX Runtime computes

    round(q_a * (s_a / s_y) + q_b * (s_b / s_y) + z_y - z_a * (s_a / s_y) - z_b * (s_b / s_y))

which was found up to 1.7e-5 codes from the exact quotient (120 additions of random scales, every pair of codes). Two or
three pairs of an addition are that near to a border; on EfficientNet-Lite0 at W8A8 one frequent pair became 5 % of all
codes behind it. So the scale of the result moves, by the same kind of hair, until no pair is in doubt. Where codes are
quantized once more, on a narrower grid, the scale of that moves alike.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, fx

from genq_export.network.aten import called_module, op_name, root_of
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.interpreter import GraphNetwork

_FURTHEST = 64  # units in the last place: 8e-6 of the scale
_NEAR = 2e-5  # codes: how far from the exact quotient of an addition a runtime's may lie
_STEPS, _STEP = 64, 8  # tried on either side for an addition, and units in the last place of each: 6e-5 of the scale


def avoid_ties(network: GraphNetwork) -> int:
    """Move scales of quantized additions, then weight scales of convolutions whose result is quantized, in place.

    Codes of weights stay. Returns the number of sums that stay in doubt. Leaves convolutions where the target adds a
    float bias.
    """
    left = avoid_addition_ties(network)  # first: it moves scales that the sums of convolutions are rounded by
    for layer, source, reader in quantized_convolutions(network):
        if not layer.bias_on_grid:
            continue
        first, last = reader.grid.lo - int(reader.zero_point), reader.grid.hi - int(reader.zero_point)
        left += settle(layer, partial(_doubts, input_scale=source.scale, scale=reader.scale, first=first, last=last))
    return left


def quantized_convolutions(
    network: GraphNetwork,
) -> Iterator[tuple[QuantizedLayer, ActivationQuantizer, ActivationQuantizer]]:
    """Convolutions whose result is quantized, past a ReLU, with what quantizes their input and their result."""
    for node in network.graph.nodes:
        layer = called_module(network, node)
        if isinstance(layer, QuantizedLayer) and layer.op == "conv2d":
            source = network.owner(node.args[1])
            reader = called_module(network, _behind_relu(node))
            if isinstance(source, ActivationQuantizer) and isinstance(reader, ActivationQuantizer):
                yield layer, source, reader


def _doubts(weight_scale: Tensor, input_scale: Tensor, scale: Tensor, first: int, last: int) -> Tensor:
    return sums_in_doubt(input_scale * weight_scale, scale, first, last)


def avoid_addition_ties(network: GraphNetwork) -> int:
    """Move the scale of every quantized sum of two quantized tensors, and of every tensor quantized again, in place.

    Scales that are shared, or powers of two, stay. Returns the number of pairs of codes that stay in doubt.
    """
    left = 0
    quantizers = [part for part in network.modules() if isinstance(part, ActivationQuantizer)]
    shared = {id(part.leader) for part in quantizers if part.leader is not part}
    for node in network.graph.nodes:
        found_sum = _sum_of_codes(network, node)
        if found_sum is None:
            continue
        reader, a, b = found_sum
        if reader.pow2 or reader.leader is not reader or id(reader) in shared:
            continue
        first, last = reader.grid.lo - int(reader.zero_point), reader.hi - int(reader.zero_point)
        bits = reader.scale.view(torch.int32)
        found = {}
        for offset in sorted(range(-_STEPS, _STEPS + 1), key=abs):
            moved = (bits + offset * _STEP).view(torch.float32)
            found[offset] = pairs_in_doubt(a, b, moved, first, last)
            if found[offset] == 0:
                break
        best = min(found, key=found.__getitem__)  # of equal ones the first, which is the nearest
        reader.scale.copy_((bits + best * _STEP).view(torch.float32))
        left += found[best]
    return left


def _sum_of_codes(network: GraphNetwork, node: fx.Node) -> tuple[ActivationQuantizer, Tensor, Tensor] | None:
    """Who quantizes the sum of two quantized tensors, and the numbers of both [codes]; None for other nodes.

    A quantizer that reads another's codes quantizes the sum of these and nothing.
    """
    is_sum = op_name(node) == "add"
    reader = called_module(network, _behind_relu(node) if is_sum else node)
    if not isinstance(reader, ActivationQuantizer):
        return None
    sources = [called_module(network, root_of(part)) for part in node.args[:2] if isinstance(part, fx.Node)]
    terms = [numbers(part) for part in sources if isinstance(part, ActivationQuantizer)]
    if len(terms) != (2 if is_sum else 1):
        return None
    return reader, terms[0], terms[1] if is_sum else torch.zeros(1, dtype=torch.float64, device=terms[0].device)


def numbers(quantizer: ActivationQuantizer) -> Tensor:
    """Every number on a quantizer's grid, float64 [codes]."""
    codes = torch.arange(quantizer.grid.lo, quantizer.hi + 1, dtype=torch.float64, device=quantizer.scale.device)
    return (codes - int(quantizer.zero_point)) * quantizer.scale.double()


def pairs_in_doubt(a: Tensor, b: Tensor, scale: Tensor, first: int, last: int) -> int:
    """How many sums of a number of `a` and one of `b` lie within 2e-5 codes of a border of the result's grid.

    Args:
        a: float64 [codes], as `b`.
        scale: float32 scalar, of the result.
        first: Its smallest code less its zero-point, as `last` is its largest.
    """
    quotients = (a[:, None] + b) / scale.double()
    below = torch.floor(quotients)
    near = (quotients - below - 0.5).abs() < _NEAR
    return int((near & (below >= first) & (below < last)).sum())


def sums_in_doubt(step: Tensor, scale: Tensor, first: int, last: int) -> Tensor:
    """How many sums get two different codes, by channel.

    Args:
        step: float32 [C], what one unit of a sum is worth.
        scale: float32 scalar, of the output.
        first: Smallest code of the output less its zero-point, as `last` is its largest.

    Returns:
        int64 [C].
    """
    borders = torch.arange(first, last, dtype=torch.float64, device=step.device) + 0.5
    below = torch.floor(borders * scale.double() / step.double()[:, None])
    sums = torch.stack((below, below + 1), -1).float()
    step = step[:, None, None]
    different = torch.round(sums * step / scale) != torch.round(sums * (step / scale))
    return different.sum((1, 2))


def settle(layer: QuantizedLayer, doubts_of: Callable[[Tensor], Tensor]) -> int:
    """Move each weight scale to the nearest with the fewest sums in doubt, in place; returns how many are left.

    Args:
        doubts_of: sums in doubt by channel, int64 [C], of weight scales, float32 [C].
    """
    best = layer.weight_scale.clone()
    fewest = doubts_of(best)
    bits = layer.weight_scale.view(torch.int32)
    for distance in range(1, _FURTHEST + 1):
        for offset in (distance, -distance):
            if not fewest.any():
                break
            moved = (bits + offset).view(torch.float32)
            found = doubts_of(moved)
            better = (found < fewest) & torch.isfinite(moved) & (moved > 0)
            best, fewest = torch.where(better, moved, best), torch.where(better, found, fewest)
    layer.weight_scale.copy_(best)
    return int(fewest.sum())


def _behind_relu(node: fx.Node) -> fx.Node:
    """What reads a convolution, past the ReLU that a runtime fuses."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if op_name(node) not in ("relu", "relu6", "hardtanh"):
            break
    return node
