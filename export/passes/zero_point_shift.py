"""Zero-points on a runtime that knows none: the numbers travel shifted, and the next bias takes the shift back.

A tensor with codes q in [lo, hi] and zero-point z holds x^ = (q - z) * s. With c = q - k, which fits in INT8
(k = 128 where hi > 127, else 0), and t = z - k, the numbers (q - k) * s = x^ + t * s lie on a grid with zero-point 0:

    quantize x + t * s to c in [lo - k, hi - k]
    y = s * s_w * sum q_w (c - t) + b = s * s_w * sum q_w c + (b - t * s * s_w * sum q_w)

The second line is exact for linear layers and unpadded convolutions. It makes any zero-point deployable on TensorRT,
and, with z = 0 and k = 128, the full 8-bit unsigned grid behind a ReLU in INT8 containers. The sum x + t * s is rounded
to float32, so a number within about 1e-5 steps of a tie may get the neighbouring code.
"""

from copy import deepcopy

import torch
from torch import fx

from genq_export.core.errors import UserError
from genq_export.network.aten import called_module, readers_of
from genq_export.network.containers import container_shift
from genq_export.network.integer import IntegerLayer, IntegerQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import tensor_name

_INT8 = range(-128, 128)
_FLOAT_LAYERS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


def without_zero_points(integer_model: GraphNetwork) -> GraphNetwork:
    """The same network with every grid in INT8 and every zero-point 0; the model given is left as it is.

    Raises:
        UserError: naming a tensor that a reader cannot take shifted.
    """
    network = integer_model.copy()
    for node in list(network.graph.nodes):
        part = called_module(network, node)
        if isinstance(part, IntegerQuantizer) and (part.zero_point != 0 or part.hi not in _INT8):
            _shift(network, node, part)
    return network.eval()


def shift_steps(zero_point: int, hi: int) -> int:
    """t, in steps of the grid: what the numbers of a tensor are shifted by."""
    return zero_point + container_shift("int8", -1, hi)


def _shift(network: GraphNetwork, node: fx.Node, part: IntegerQuantizer) -> None:
    k, t = -container_shift("int8", part.lo, part.hi), shift_steps(part.zero_point, part.hi)
    shifted = IntegerQuantizer(part.name, part.bits, part.lo - k < 0, 0, part.lo - k, part.hi - k)
    shifted.scale.copy_(part.scale)
    shifted.register_buffer("shift", t * part.scale)
    network.replace(str(node.target), shifted)
    offset = tensor_name(str(node.target), "shift")
    for reader in list(readers_of(node)):
        layer = called_module(network, reader)
        if reader.target in _FLOAT_LAYERS:  # kept in float: it has no code to fold into, and need not have
            _shift_back(graph=network.graph, reader=reader, offset=offset)
        elif isinstance(layer, IntegerLayer) and not any(layer.geometry.get("padding", ())):
            network.replace(str(reader.target), _with_bias_folded(layer, t))
        else:
            raise UserError(
                f"activation '{part.name}' has a zero-point or 8 unsigned bits, which TensorRT has not, and"
                f" '{getattr(layer, 'name', reader.name)}' cannot take it shifted; quantize with --target tensorrt"
            )
    with network.graph.inserting_before(node):
        moved = network.graph.call_function(torch.ops.aten.add.Tensor, (node.args[0], network.graph.get_attr(offset)))
    node.args = (moved,)


def _shift_back(graph: fx.Graph, reader: fx.Node, offset: str) -> None:
    source = reader.args[0]
    with graph.inserting_before(reader):
        restored = graph.call_function(torch.ops.aten.sub.Tensor, (source, graph.get_attr(offset)))
    reader.args = (restored, *reader.args[1:])


def _with_bias_folded(layer: IntegerLayer, t: int) -> IntegerLayer:
    folded = deepcopy(layer)
    sums = layer.weight_codes.flatten(1).long().sum(1)
    if layer.bias_on_grid:
        folded.bias.copy_(layer.bias - t * sums)
    else:
        folded.bias.copy_(layer.bias.double() - t * layer.bias_scale.double() * sums)
    return folded
