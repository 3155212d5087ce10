"""Which layers quantization costs most: the output's KL divergence with one layer quantized and all others in float.

The layer's input and its weight are put on their grids inside that layer alone; whoever else reads the same tensor sees
it in float. Ranges are searched as for the network itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from genq_export.network import grid
from genq_export.network.aten import called_module
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize import range_search
from genq_export.quantize.blocks import Block, run_blocks, split
from genq_export.quantize.divergence import kl_divergence

_SAMPLE = 2**18


@dataclass(frozen=True)
class Cost:
    """KL(float || float with one layer quantized), in nats, mean over the images.

    weight_bits, activation_bits: None where that side stayed in float.
    """

    name: str
    weight_bits: int | None
    activation_bits: int | None
    kl: float

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


Options = Callable[[QuantizedLayer, ActivationQuantizer], Sequence[tuple[int | None, int | None]]]


def own_bits(layer: QuantizedLayer, quantizer: ActivationQuantizer) -> list[tuple[int | None, int | None]]:
    """The bits that layer and input have in this network."""
    return [(layer.grid.bits, quantizer.grid.bits)]


def measure(gm: GraphNetwork, images: Tensor, options: Options = own_bits) -> list[Cost]:
    """Cost of every quantized layer of a prepared graph, in the order they run.

    images: float32 [N, C, H, W], all run at once. options: pairs of weight and activation bits to try for a layer.
    """
    set_quantization(gm, False)
    try:
        with torch.no_grad():
            return list(_costs(split(gm), dict(input_quantizers(gm)), images, options))
    finally:
        set_quantization(gm, True)


def ranked(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """ActivationStore `{name, weight_bits, activation_bits, kl}`, the most expensive first."""
    return [cost.row() for cost in sorted(costs, key=lambda cost: (-cost.kl, cost.name))]


def input_quantizers(gm: GraphNetwork) -> list[tuple[QuantizedLayer, ActivationQuantizer]]:
    """Every quantized layer with the quantizer of its input, in the order they run."""
    pairs = []
    for node in gm.graph.nodes:
        layer = called_module(gm, node)
        if isinstance(layer, QuantizedLayer):
            quantizer = gm.owner(node.args[1])
            assert isinstance(quantizer, ActivationQuantizer)
            pairs.append((layer, quantizer))
    return pairs


def _costs(
    blocks: list[Block], quantizer_of: dict[QuantizedLayer, ActivationQuantizer], images: Tensor, options: Options
) -> Iterator[Cost]:
    teacher = run_blocks(blocks, images)
    x = images
    for number, block in enumerate(blocks):
        for layer in block.layers():
            quantizer = quantizer_of[layer]
            for weight_bits, activation_bits in options(layer, quantizer):
                student = _run_with(blocks[number:], x, layer, quantizer, weight_bits, activation_bits)
                kl = float(kl_divergence(student, teacher).clamp_min(0))
                yield Cost(layer.name, weight_bits, activation_bits, kl)
        x = block.module(x)


def _run_with(
    blocks: list[Block],
    x: Tensor,
    layer: QuantizedLayer,
    quantizer: ActivationQuantizer,
    weight_bits: int | None,
    activation_bits: int | None,
) -> Tensor:
    """Logits with one layer quantized; everything is put back."""

    def put_on_grid(_part: object, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return (inputs[0] if activation_bits is None else _on_grid(inputs[0], quantizer, activation_bits)), inputs[1]

    weight = layer.weight if weight_bits is None else _rounded(layer.weight, weight_bits)
    handle = layer.register_forward_pre_hook(put_on_grid)
    layer.enabled, layer.learner = True, lambda: weight
    try:
        return run_blocks(blocks, x)
    finally:
        layer.enabled, layer.learner = False, None
        handle.remove()


def _rounded(weight: Tensor, bits: int) -> Tensor:
    of = grid.Grid(bits, signed=True)
    scale = grid.per_channel(range_search.search_weight_scale(weight, of), weight)
    return grid.fake_quantize(weight, scale, of.lo, of.hi)


def _on_grid(x: Tensor, quantizer: ActivationQuantizer, bits: int) -> Tensor:
    sample = x.flatten()[:: max(1, x.numel() // _SAMPLE) | 1].cpu()
    if quantizer.asymmetric:
        scale, zero_point = range_search.search_asymmetric(sample, bits, pow2=quantizer.pow2)
        return grid.fake_quantize(x, scale, 0, 2**bits - 1, zero_point)
    of = grid.Grid(bits, quantizer.grid.signed)
    scale = range_search.search_activation_scale(sample, of, pow2=quantizer.pow2)
    return grid.fake_quantize(x, scale, of.lo, of.hi)
