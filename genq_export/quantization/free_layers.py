"""The layers whose bits may be chosen: all but the first, the last, and those that have bits by name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from torch import fx

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.network.aten import called_module
from genq_export.network.fake_quant import QuantizedLayer, QuantizedMatMul
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


@dataclass(frozen=True)
class Group:
    """Tensors that can only have their bits together, and the layers and products that read them, by name.

    A product of two activations asks the same bits of both.
    """

    tensors: tuple[str, ...]
    readers: tuple[str, ...]


def groups_of_tensors(gm: GraphNetwork, config: QuantizeConfig) -> list[Group]:
    """Return groups whose readers are all free, products without bits by name among them, in order."""
    free = {layer.name for layer in free_layers(gm, config)}
    members: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    bound: set[str] = set()
    for reader, tensors, is_product in _readings(gm):
        joined = [members[name] for name in tensors if name in members]
        group = joined[0] if joined else ({}, {})
        for other in joined[1:]:
            if other is not group:
                group[0].update(other[0])
                group[1].update(other[1])
        group[0].update(dict.fromkeys(tensors))
        group[1][reader] = None
        members |= dict.fromkeys(group[0], group)
        named = any(fnmatchcase(reader, pattern) for pattern in config.layers)
        if named or not (is_product or reader in free):
            bound.add(reader)
    groups = {id(group): Group(tuple(group[0]), tuple(group[1])) for group in members.values()}
    return [group for group in groups.values() if bound.isdisjoint(group.readers)]


def _readings(gm: GraphNetwork) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Every layer and product with the quantizers that it reads; is it a product?"""
    for node in gm.graph.nodes:
        part = called_module(gm, node)
        if isinstance(part, QuantizedLayer | QuantizedMatMul):
            is_product = isinstance(part, QuantizedMatMul)
            owners = [gm.owner(node.args[place]) for place in ((1, 3) if is_product else (1,))]
            yield part.name, tuple(str(owner.name) for owner in owners), is_product


def _is_quantized(gm: GraphNetwork, node: fx.Node) -> bool:
    return isinstance(called_module(gm, node), QuantizedLayer)
