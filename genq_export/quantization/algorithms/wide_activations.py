"""Activations of 8 bits where fewer cost most: every container has 8 bits, so this costs neither bytes nor time.

    maximise    sum over the tensors at 8 bits of KL(that tensor on b bits) - KL(it on 8)
    subject to  mean bits over all tensors that layers and products read <= mean_bits

Costs are measured one tensor at a time in the float network (sensitivity.py) and added ([ours]). Large tensors count as
small ones do: the mean says how far the network is from one of b bits, and the speed of no target depends on it.
"""

from collections.abc import Mapping, Sequence

from genq_export.config.quantize import LayerOverride, QuantizeConfig
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.free_layers import Group, groups_of_tensors
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.sensitivity import measure_tensors, sample_of
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork

_WIDE = 8


class WideActivations(Method):
    """Give 8 bits to the tensors that need them most; the network is prepared anew with them."""

    name = "wide_activations"
    phase = Phase.BITS

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Measure every tensor that may have other bits at both widths, and choose."""
        gm, narrow, mean = network.graph, settings.activation_bits, settings.wide_activations.mean_bits
        assert mean is not None
        groups = groups_of_tensors(gm, settings)
        names = {name for group in groups for name in group.tensors}
        costs = measure_tensors(gm, sample_of(images, gm), names, (narrow, _WIDE), context.divergence)
        saved = {name: costs[name, narrow] - costs[name, _WIDE] for name in names}
        chosen = widened(groups, saved, narrow, mean)
        assigned = {reader: LayerOverride(activation_bits=_WIDE) for group in chosen for reader in group.readers}
        network.assign_bits(assigned)
        return Findings(assigned_bits=assigned)


WIDE_ACTIVATIONS = WideActivations()


def widened(groups: Sequence[Group], saved: Mapping[str, float], narrow: int, mean_bits: float) -> list[Group]:
    """Return the groups that get 8 bits: those that save most a tensor, as many tensors as the mean allows.

    Args:
        groups: of tensors that go together.
        saved: what 8 bits save, by tensor.
        narrow: bits of the others.
        mean_bits: over all tensors of the groups.
    """
    tensors = sum(len(group.tensors) for group in groups)
    left = int(tensors * (mean_bits - narrow) / (_WIDE - narrow) + 1e-9) if narrow < _WIDE else 0
    gains = {group: sum(saved[name] for name in group.tensors) / len(group.tensors) for group in groups}
    chosen = []
    for group in sorted(groups, key=lambda group: (-gains[group], group.tensors)):
        if gains[group] > 0 and len(group.tensors) <= left:
            chosen.append(group)
            left -= len(group.tensors)
    return chosen
