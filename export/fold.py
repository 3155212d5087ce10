"""Fold: fake-quant reference -> integer model that computes the same, code by code, and holds no float weight.

Besides moving codes into int8 buffers, fold makes what runtimes fuse: a ReLU6 in front of a quantizer becomes a ReLU,
because clipping at 6 and then rounding is rounding and then clipping at the code of 6 (rounding is monotone):
hi' = min(hi, round(6 / s)).
"""

import math

import torch

from genq_export.network.aten import called_module
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.grid import bias_codes
from genq_export.network.integer import IntegerLayer, IntegerMatMul, IntegerQuantizer
from genq_export.network.interpreter import GraphNetwork


def fold(reference: GraphNetwork) -> GraphNetwork:
    """The integer model of a reference in eval mode; the reference is left as it is."""
    network = reference.copy()
    for node in network.graph.nodes:
        part = called_module(reference, node)
        if isinstance(part, ActivationQuantizer):
            network.replace(node.target, _fold_quantizer(part))
        elif isinstance(part, QuantizedMatMul):
            network.replace(node.target, IntegerMatMul(part.name))
        elif isinstance(part, QuantizedLayer):
            quantizer = reference.owner(node.args[1])
            assert isinstance(quantizer, ActivationQuantizer)
            network.replace(node.target, _fold_layer(part, quantizer.scale))
    _relu6_to_relu(network)
    return network.eval()


def _fold_quantizer(part: ActivationQuantizer) -> IntegerQuantizer:
    folded = IntegerQuantizer(part.name, part.grid.bits, part.grid.signed, int(part.zero_point), part.grid.lo, part.hi)
    folded.scale.copy_(part.scale)
    return folded


def _fold_layer(part: QuantizedLayer, input_scale: torch.Tensor) -> IntegerLayer:
    folded = IntegerLayer(part.name, part.op, part.grid.bits, list(part.codes.shape), part.bias_on_grid, part.geometry)
    bias = part.bias
    if part.bias_on_grid:
        bias = bias_codes(part.bias, input_scale, part.weight_scale).to(torch.int32)
    state = {
        "weight_codes": part.codes,
        "weight_scale": part.weight_scale,
        "bias": bias,
        "bias_scale": input_scale * part.weight_scale,
    }
    folded.load_state_dict(state)
    return folded


def _relu6_to_relu(network: GraphNetwork) -> None:
    relu6 = (torch.ops.aten.relu6.default, torch.ops.aten.hardtanh.default, torch.ops.aten.clamp.default)
    for node in list(network.graph.nodes):
        if node.target not in relu6 or len(node.users) != 1:
            continue
        lower, upper = (0.0, 6.0) if node.target == relu6[0] else (*node.args[1:3], None, None)[:2]
        quantizer = called_module(network, next(iter(node.users)))
        if lower != 0 or not isinstance(upper, int | float) or not math.isfinite(upper):
            continue
        if isinstance(quantizer, IntegerQuantizer) and quantizer.zero_point == 0:
            quantizer.hi = min(quantizer.hi, int(torch.round(upper / quantizer.scale)))
            node.target, node.args = torch.ops.aten.relu.default, (node.args[0],)
