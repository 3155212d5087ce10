"""The last step: scales moved by a hair, so that no integer kernel rounds a sum to another code than the reference."""

from genq_export.config.quantize import QuantizeConfig
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.reciprocal_ties import avoid_reciprocal_ties
from genq_export.quantization.rounding_ties import avoid_ties
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork


class RoundingTies(Method):
    """Avoid rounding ties; a scale that moved behind this could make new ones."""

    name = "rounding_ties"
    phase = Phase.FINISH

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Move scales of activations where the target multiplies; else of additions, then weights of convolutions."""
        if context.rule.quantizers_multiply:
            avoid_reciprocal_ties(network.graph)
        else:
            avoid_ties(network.graph)
        return Findings()


ROUNDING_TIES = RoundingTies()
