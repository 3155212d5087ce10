"""Activations of 8 bits where fewer cost most: every container has 8 bits, so this costs neither bytes nor time.

    maximise    sum over the tensors at 8 bits of KL(its readers read b bits) - KL(they read 8)
    subject to  mean bits over all tensors that layers read <= mean_bits

Costs are measured one tensor at a time in the float network (sensitivity.py) and added ([ours]). Large tensors count as
small ones do: the mean says how far the network is from one of b bits, and the speed of no target depends on it.
"""

from collections.abc import Mapping, Sequence

from genq_export.config.quantize import LayerOverride, QuantizeConfig
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.free_layers import free_layers, readers_of_tensors
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.sensitivity import measure, sample_of
from genq_export.quantization.summary import Findings, LayerCost
from genq_export.quantization.working_network import WorkingNetwork

_WIDE = 8


class WideActivations(Method):
    """Give 8 bits to the tensors that need them most; the network is prepared anew with them."""

    name = "wide_activations"
    phase = Phase.BITS

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Measure every tensor that free layers read at both widths, and choose."""
        gm, narrow = network.graph, settings.activation_bits
        free = free_layers(gm, settings)
        readers = readers_of_tensors(gm, free)
        options = [(None, narrow), (None, _WIDE)]
        costs = measure(
            gm, sample_of(images, gm), lambda layer, _: options if layer in free else [], context.divergence
        )
        assert settings.wide_activations.mean_bits is not None
        chosen = widened(gains(readers, costs), narrow, settings.wide_activations.mean_bits)
        assigned = {layer.name: LayerOverride(activation_bits=_WIDE) for name in chosen for layer in readers[name]}
        network.assign_bits(assigned)
        return Findings(assigned_bits=assigned)


WIDE_ACTIVATIONS = WideActivations()


def gains(readers: Mapping[str, Sequence[QuantizedLayer]], costs: Sequence[LayerCost]) -> dict[str, float]:
    """What 8 bits save, by tensor.

    Args:
        readers: layers by the tensor they read.
        costs: of every such layer, its input at fewer bits and at 8.
    """
    saved: dict[str, float] = {}
    for cost in costs:
        sign = -1 if cost.activation_bits == _WIDE else 1
        saved[cost.name] = saved.get(cost.name, 0.0) + sign * cost.kl
    return {name: sum(saved[layer.name] for layer in layers) for name, layers in readers.items()}


def widened(saved: Mapping[str, float], narrow: int, mean_bits: float) -> list[str]:
    """Return the tensors that get 8 bits: those that save most, as many as the mean allows, none that saves nothing."""
    allowed = int(len(saved) * (mean_bits - narrow) / (_WIDE - narrow) + 1e-9) if narrow < _WIDE else 0
    best = sorted(saved, key=lambda name: (-saved[name], name))[: max(0, allowed)]
    return [name for name in best if saved[name] > 0]
