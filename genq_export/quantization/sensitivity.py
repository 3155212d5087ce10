"""Which layers quantization costs most: the outputs' divergence with one layer quantized and all others in float.

Input and weight are quantized inside that layer alone; other readers of the same tensor see it in float. Ranges are
searched as for the network itself.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from genq_export.network import grid, range_search
from genq_export.network.aten import called_module
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.hooks import device_of
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.outputs import Answer
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.activation_cost import in_float
from genq_export.quantization.blocks import Block, run_blocks, split
from genq_export.quantization.summary import LayerCost
from genq_export.tasks.classification import CLASSIFICATION
from genq_export.tasks.task import Divergence

MEASURED_IMAGES = 64
_SAMPLE = 2**18

Options = Callable[[QuantizedLayer, ActivationQuantizer], Sequence[tuple[int | None, int | None]]]


def own_bits(layer: QuantizedLayer, quantizer: ActivationQuantizer) -> list[tuple[int | None, int | None]]:
    """Return the bits that layer and input have in this network."""
    return [(layer.grid.bits, quantizer.grid.bits)]


def sample_of(images: ActivationStore, gm: GraphNetwork) -> Tensor:
    """The images that costs are measured on, float32 [N, C, H, W], where the graph computes."""
    return images.read(0, min(len(images), MEASURED_IMAGES)).to(device_of(gm))


def measure(
    gm: GraphNetwork, images: Tensor, options: Options = own_bits, divergence: Divergence = CLASSIFICATION.divergence
) -> list[LayerCost]:
    """Cost of every quantized layer of a prepared graph, in the order they run.

    Args:
        gm: the graph, before anything was learned in it.
        images: float32 [N, C, H, W], all run at once.
        options: pairs of weight and activation bits to try for a layer.
        divergence: what a layer costs, of the network's outputs.
    """
    with in_float(gm), torch.no_grad():
        return list(_costs(split(gm), dict(input_quantizers(gm)), images, options, divergence))


def measure_tensors(
    gm: GraphNetwork, images: Tensor, names: Collection[str], widths: Sequence[int], divergence: Divergence
) -> dict[tuple[str, int], float]:
    """Cost of a tensor at a width, for all that read it, everything else in float.

    Args:
        gm: a prepared graph, before anything was learned in it.
        images: float32 [N, C, H, W], all run at once.
        names: of the quantizers.
        widths: in bits.
        divergence: what a tensor costs, of the network's outputs.

    Returns:
        By name and width.
    """
    costs: dict[tuple[str, int], float] = {}
    with in_float(gm), torch.no_grad():
        blocks = split(gm)
        teacher, x = run_blocks(blocks, images), images
        for number, block in enumerate(blocks):
            for quantizer in block.quantizers():
                for bits in widths if quantizer.name in names else ():
                    student = _run_with_tensor(blocks[number:], x, quantizer, bits)
                    costs[quantizer.name, bits] = float(divergence(student, teacher).clamp_min(0))
            x = block.module(x)
    return costs


def _run_with_tensor(blocks: list[Block], x: Tensor, quantizer: ActivationQuantizer, bits: int) -> Answer:
    """What the network gives with one tensor on a grid."""
    handle = quantizer.register_forward_hook(lambda _part, inputs, _output: _on_grid(inputs[0], quantizer, bits))
    try:
        return run_blocks(blocks, x)
    finally:
        handle.remove()


def ranked(costs: Sequence[LayerCost]) -> list[LayerCost]:
    """Sort costs, the most expensive first, equal ones by name."""
    return sorted(costs, key=lambda cost: (-cost.kl, cost.name))


def input_quantizers(gm: GraphNetwork) -> list[tuple[QuantizedLayer, ActivationQuantizer]]:
    """Return every quantized layer with the quantizer of its input, in the order they run."""
    pairs = []
    for node in gm.graph.nodes:
        layer = called_module(gm, node)
        if isinstance(layer, QuantizedLayer):
            quantizer = gm.owner(node.args[1])
            assert isinstance(quantizer, ActivationQuantizer)
            pairs.append((layer, quantizer))
    return pairs


def _costs(
    blocks: list[Block],
    quantizer_of: dict[QuantizedLayer, ActivationQuantizer],
    images: Tensor,
    options: Options,
    divergence: Divergence,
) -> Iterator[LayerCost]:
    teacher = run_blocks(blocks, images)
    x = images
    for number, block in enumerate(blocks):
        for layer in block.layers():
            quantizer = quantizer_of[layer]
            for weight_bits, activation_bits in options(layer, quantizer):
                student = _run_with(blocks[number:], x, layer, quantizer, weight_bits, activation_bits)
                kl = float(divergence(student, teacher).clamp_min(0))
                yield LayerCost(name=layer.name, weight_bits=weight_bits, activation_bits=activation_bits, kl=kl)
        x = block.module(x)


def _run_with(
    blocks: list[Block],
    x: Tensor,
    layer: QuantizedLayer,
    quantizer: ActivationQuantizer,
    weight_bits: int | None,
    activation_bits: int | None,
) -> Answer:
    """What the network gives with one layer quantized; the graph is left as it was."""

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
    of = grid.weight_grid(bits)
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
