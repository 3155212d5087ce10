"""The layers whose bits may be chosen: all but the first, the last, and those that have bits by name."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial

from torch import fx

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.network.aten import called_module
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.layers import last_layers
from genq_export.quantization.sensitivity import input_quantizers


def free_layers(gm: GraphNetwork, config: QuantizeConfig) -> list[QuantizedLayer]:
    """Return them in the order they run; raises UserError where there is none."""
    layers = [layer for layer, _ in input_quantizers(gm)]
    last = [called_module(gm, node) for node in last_layers(gm.graph, partial(_is_quantized, gm))]
    inner = [layer for layer in layers[1:] if layer not in last]
    free = [layer for layer in inner if not any(fnmatchcase(layer.name, pattern) for pattern in config.layers)]
    if not free:
        raise UserError("a bit budget has nothing to assign: every layer is the first, the last, or has bits by name")
    return free


def readers_of_tensors(gm: GraphNetwork, free: Sequence[QuantizedLayer]) -> dict[str, list[QuantizedLayer]]:
    """Return the layers that read a tensor, by the name of its quantizer, where all of them are free."""
    readers: dict[str, list[QuantizedLayer]] = {}
    for layer, quantizer in input_quantizers(gm):
        readers.setdefault(quantizer.name, []).append(layer)
    return {name: layers for name, layers in readers.items() if all(layer in free for layer in layers)}


def _is_quantized(gm: GraphNetwork, node: fx.Node) -> bool:
    return isinstance(called_module(gm, node), QuantizedLayer)
