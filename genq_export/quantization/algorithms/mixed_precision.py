"""Mixed precision: bits of weights and activations layer by layer under a budget, by integer programming.

    minimise    sum over layers of KL(layer at its bits)
    subject to  one width for every weight and every activation tensor, and the budget

The costs of a layer's weight and of its input are measured apart (sensitivity.py) and added: with one layer at a time
their effects are small, and small divergences add up. The first and the last layers, and layers that the config gives
bits by name, keep theirs and count towards no average.

* `average_bits`: mean weight bits over all weights, and mean activation bits over all numbers that layers read.
* `size_budget`: bytes of all weights as the target stores them, with a scale and a bias for every channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from genq_export.config.quantize import LayerOverride, QuantizeConfig
from genq_export.config.target import TargetRule
from genq_export.core.errors import UserError
from genq_export.network.aten import called_module
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.free_layers import free_layers, readers_of_tensors
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.sensitivity import Options, input_quantizers, measure, sample_of
from genq_export.quantization.summary import Findings, LayerCost
from genq_export.quantization.working_network import WorkingNetwork

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
_BYTES_A_CHANNEL = 12  # weight scale, bias, and the scale of the bias where it has one


@dataclass(frozen=True)
class Choice:
    """Something that gets a width, for the layers named: its cost, and its share of the budget, by width."""

    names: tuple[str, ...]
    costs: Mapping[int, float]
    sizes: Mapping[int, float]


class MixedPrecision(Method):
    """Assign bits within the budget; the network is prepared anew with them."""

    name = "mixed_precision"
    phase = Phase.BITS

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Measure what widths cost, unless none fits the budget, and choose."""
        gm = network.graph
        check_budget(gm, settings, context.rule)
        costs = measure(gm, sample_of(images, gm), options_to_measure(gm, settings), context.divergence)
        assigned = assign(gm, costs, settings, context.rule)
        network.assign_bits(assigned)
        return Findings(assigned_bits=assigned)


MIXED_PRECISION = MixedPrecision()


def options_to_measure(gm: GraphNetwork, config: QuantizeConfig) -> Options:
    """For `sensitivity.measure`: every width of a weight alone, and of an input alone where inputs get bits as well."""
    free = {layer.name for layer in free_layers(gm, config)}
    weights: list[tuple[int | None, int | None]] = [(bits, None) for bits in WIDTHS]
    inputs: list[tuple[int | None, int | None]] = [(None, bits) for bits in WIDTHS]
    options = weights if config.mixed_precision.average_bits is None else weights + inputs
    return lambda layer, _quantizer: options if layer.name in free else []


def check_budget(gm: GraphNetwork, config: QuantizeConfig, rule: TargetRule) -> None:
    """Raise UserError where no bits fit the size budget of `config`: known before anything is measured."""
    budget = config.mixed_precision.size_budget
    if budget is None:
        return  # 2 bits everywhere fit any average the config allows
    free = free_layers(gm, config)
    narrowest = sum(min(_stored(layer, bits, rule) for bits in WIDTHS) for layer in free)
    least = _size_of_others(gm, free, rule) + narrowest
    if least > int(budget):
        raise UserError(
            f"quantize.mixed_precision.size_budget: {int(budget)} bytes do not hold this network on {rule.name}:"
            f" with {WIDTHS[0]}-bit weights it takes {round(least)}"
        )


def assign(
    gm: GraphNetwork, costs: Sequence[LayerCost], config: QuantizeConfig, rule: TargetRule
) -> dict[str, LayerOverride]:
    """Bits by layer name, the best within the budget of `config`.

    Args:
        gm: a prepared graph.
        costs: what `options_to_measure` asks for.
        config: the budget, and the layers that have bits of their own.
        rule: how the target stores weights.

    Raises:
        UserError: where no assignment fits.
    """
    check_budget(gm, config, rule)
    average, budget = config.mixed_precision.average_bits, config.mixed_precision.size_budget
    free = free_layers(gm, config)
    table = {(cost.name, cost.weight_bits, cost.activation_bits): cost.kl for cost in costs}
    if budget is not None:
        weights = [_weight(layer, table, {bits: _stored(layer, bits, rule) for bits in WIDTHS}) for layer in free]
        widths = cheapest_widths(weights, int(budget) - _size_of_others(gm, free, rule))
        assert widths is not None  # the narrowest fit, as was checked
        return {name: LayerOverride(weight_bits=bits) for name, bits in widths.items()}
    assert average is not None
    weights = [_weight(layer, table, {bits: bits * layer.weight.numel() for bits in WIDTHS}) for layer in free]
    weight_bits = cheapest_widths(weights, average * sum(layer.weight.numel() for layer in free))
    inputs = _inputs(gm, free, table)
    input_bits = cheapest_widths(inputs, average * sum(choice.sizes[WIDTHS[0]] / WIDTHS[0] for choice in inputs))
    assert weight_bits is not None and input_bits is not None  # 2 bits everywhere fit any average the config allows
    return {
        name: LayerOverride(weight_bits=bits, activation_bits=input_bits.get(name))
        for name, bits in weight_bits.items()
    }


def _size_of_others(gm: GraphNetwork, free: Sequence[QuantizedLayer], rule: TargetRule) -> float:
    """Bytes of the layers whose bits are fixed."""
    layers = [layer for layer, _ in input_quantizers(gm)]
    return sum(_stored(layer, layer.grid.bits, rule) for layer in layers if layer not in free)


def _stored(layer: QuantizedLayer, bits: int, rule: TargetRule) -> float:
    """Bytes of a layer in the target's file: codes of 4 or 8 bits, and what every channel carries."""
    width = 4 if bits <= 4 and rule.int4_storage else 8
    return layer.weight.numel() * width / 8 + len(layer.weight_scale) * _BYTES_A_CHANNEL


def _weight(
    layer: QuantizedLayer, table: Mapping[tuple[str, int | None, int | None], float], sizes: Mapping[int, float]
) -> Choice:
    return Choice((layer.name,), {bits: table[layer.name, bits, None] for bits in WIDTHS}, sizes)


def _inputs(
    gm: GraphNetwork,
    free: Sequence[QuantizedLayer],
    table: Mapping[tuple[str, int | None, int | None], float],
) -> list[Choice]:
    """One choice a tensor: layers that read the same one share its width. Tensors that other layers read are left."""
    numbers = {
        part.name: float(np.prod([int(size) for size in node.meta["val"].shape[1:]]))
        for node in gm.graph.nodes
        if isinstance(part := called_module(gm, node), ActivationQuantizer)
    }
    return [
        Choice(
            tuple(layer.name for layer in layers),
            {bits: sum(table[layer.name, None, bits] for layer in layers) for bits in WIDTHS},
            {bits: bits * numbers[name] for bits in WIDTHS},
        )
        for name, layers in readers_of_tensors(gm, free).items()
    ]


def cheapest_widths(choices: Sequence[Choice], budget: float) -> dict[str, int] | None:
    """Return the width of every choice that makes the sum of costs least within the budget; None where none fits."""
    if not choices:
        return {}
    count = len(choices) * len(WIDTHS)
    by_width = np.array([[choice.costs[bits] for bits in WIDTHS] for choice in choices])
    costs = np.minimum.accumulate(by_width, axis=1).ravel()  # a wider grid that seems worse is noise
    sizes = np.array([choice.sizes[bits] for choice in choices for bits in WIDTHS])
    one_each = np.kron(np.eye(len(choices)), np.ones(len(WIDTHS)))
    ties = -1e-6 * np.array([bits for _ in choices for bits in WIDTHS])  # where costs are the same, the wider one
    found = milp(
        costs / max(costs.max(), 1e-12) + ties,
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(sizes[None] / max(budget, 1), -np.inf, 1)],
    )
    if found.x is None or budget <= 0:
        return None
    picked = found.x.reshape(len(choices), len(WIDTHS)).argmax(1)
    return {name: WIDTHS[index] for choice, index in zip(choices, picked, strict=True) for name in choice.names}
