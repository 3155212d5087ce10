"""What codes keep of their float weight, however they were learned.

GPTQ, learned rounding and QAT move codes on purpose, so that one makes up for another: at 4 bits the noise of a good
channel may be larger than its weight. But that noise has no direction. The codes of a channel still point to where its
weight does, more than to any other channel's, or its output moves as the float one does; and its scale is about the one
that plain rounding would take. [ours]
"""

import torch
from torch import Tensor

from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.range_search import search_weight_scale
from runtime_tests.verify.channel_response import CLEAR, Response
from runtime_tests.verify.exchange import most_exchanged
from runtime_tests.verify.results import WeightRelation

# Two channels that took each other's place are both among those that are least like themselves.
_SUSPECTS = 64
_SCALES = 64  # channels whose scale is searched anew
# Codes times scale that are the float weight: what outputs do differently then was so in front of the layer.
_SAME, _SAME_SIZE = 0.99, 0.05  # least cosine of a channel, and how far from 1 their size may be
# A weight of fewer steps may well have no code: scales are raised where a bias needs room.
_STEPS = 0.75


def relation(layer: QuantizedLayer, response: Response | None = None) -> WeightRelation:
    """Hold codes, scales and bias of a layer against its float weight and bias.

    Args:
        layer: A layer of a reference.
        response: How its outputs answer to float; None: that was not looked at.
    """
    scales = layer.weight_scale
    channels = torch.nonzero(layer.weight.flatten(1).abs().amax(1) > _STEPS * scales).flatten()
    bias = _share(layer.bias, layer.float_bias)
    if not len(channels):
        return WeightRelation(bias=bias)
    codes, weight = _directions(layer.codes[channels].float()), _directions(layer.weight[channels])
    own = (codes * weight).sum(1)
    likeness = own if response is None else torch.maximum(own, response.likeness[channels].float())
    least = int(likeness.argmin())
    suspects = own.argsort()[:_SUSPECTS]
    if response is not None:  # what moves as float does is where it belongs
        suspects = suspects[response.likeness[channels[suspects]] < CLEAR]
    exchange = most_exchanged(codes[suspects], weight[suspects], own.argsort().argsort()[suspects] + 1)
    inherits = _is_the_weight(layer, channels, own)
    chosen = channels[:: max(1, len(channels) // _SCALES)]
    searched = search_weight_scale(layer.weight[chosen], layer.grid)
    return WeightRelation(
        likeness=round(float(likeness[least]), 4),
        channel=int(channels[least]),
        exchanged=None if exchange is None else _sorted(channels[suspects[[exchange.one, exchange.other]]]),
        exchange=None if exchange is None else round(exchange.nearer, 4),
        chance=None if exchange is None else exchange.chance,
        scale=round(float((scales[chosen] / searched).median()), 4),
        slope=None if response is None or response.slope is None or inherits else round(response.slope, 4),
        bias=bias,
    )


def _is_the_weight(layer: QuantizedLayer, channels: Tensor, own: Tensor) -> bool:
    """Are codes times scale the float weight, in direction and size?"""
    weight = layer.weight[channels].flatten(1)
    found = layer.codes[channels].float().flatten(1) * layer.weight_scale[channels, None]
    size = float((found * weight).sum() / weight.square().sum())
    return float(own.min()) >= _SAME and abs(size - 1) <= _SAME_SIZE


def _sorted(pair: Tensor) -> tuple[int, int]:
    return int(pair.min()), int(pair.max())


def _directions(rows: Tensor) -> Tensor:
    """Rows of length one [C, K]; a row of zeros stays one."""
    return torch.nn.functional.normalize(rows.flatten(1), eps=torch.finfo(torch.float32).tiny)


def _share(found: Tensor, expected: Tensor) -> float | None:
    whole = float(expected.norm())
    return round(float(found.norm()) / whole, 4) if whole > 0 else None
