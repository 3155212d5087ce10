"""Ranges by what they do to the answers, where the search by the error of each tensor leaves these far from float's.

A tensor may hold numbers that are large, few and of little consequence: behind the first convolutions of a network that
reads text, edges of letters reach 50 and what tells letters apart lies below 1. The search by the L2.4 error covers the
edges; answers may come closer where they are clipped. So, with weights in float and one tensor on its grid at a time,
tensors are ranked by what they cost in the answers' divergence from float, and those that cost most try shares of
their scale. All of it is kept if the answers with every tensor on its grid are closer to float's than before, on
calibration images that chose nothing. [ours]
"""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import INPUT_NAME, ActivationQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.range_search import CLIPPED_SHARES
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.activation_cost import WIDE, answers, far_from_float, in_float, switched
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.sensitivity import sample_of
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork
from genq_export.tasks.task import Divergence

_WHOLE = 0.95  # of the costs of all tensors: those that make up this much are tried
_MOST = 16  # of them

Group = list[ActivationQuantizer]


class OutputRanges(Method):
    """Shares of searched scales, by the answers."""

    name = "output_ranges"
    phase = Phase.BITS

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """On half of the images; the other half decides whether it is kept."""
        graph = network.graph
        sample = sample_of(images, graph)
        if (
            settings.scales != "pow2"
            and far_from_float(graph, sample)
            and refine_by_answers(graph, sample, context.divergence)
        ):
            context.progress.say("  ranges chosen by what they do to the answers, which are closer to float's now")
        return Findings()

    def applies(self, network: WorkingNetwork, settings: QuantizeConfig) -> bool:
        """Below 8 bits clipping and learning go together."""
        return settings.activation_bits >= WIDE


OUTPUT_RANGES = OutputRanges()


def refine_by_answers(graph: GraphNetwork, images: Tensor, divergence: Divergence) -> bool:
    """Choose scales of the tensors that cost most; False, and the graph as it was, where that does not pay.

    Args:
        graph: prepared, ranges searched, before anything was learned.
        images: float32 [N, C, H, W]: every other one chooses, the others decide.
        divergence: of answers from float ones.
    """
    chosen, judged = images[::2], images[1::2]
    parts = [part for part in graph.modules() if isinstance(part, ActivationQuantizer)]
    kept = [(part, part.scale.clone()) for part in parts]
    before = _joint_cost(graph, parts, judged, divergence)
    _choose(graph, parts, chosen, divergence)
    if _joint_cost(graph, parts, judged, divergence) < before:
        return True
    for part, scale in kept:
        part.scale.copy_(scale)
    return False


def _choose(graph: GraphNetwork, parts: Sequence[ActivationQuantizer], images: Tensor, divergence: Divergence) -> None:
    with in_float(graph):
        teacher = answers(graph, images)

        def cost(group: Group) -> float:
            with switched(group, True):
                return float(divergence(answers(graph, images), teacher))

        for group, alone in _costliest([(group, cost(group)) for group in _groups(parts)]):
            _choose_for(group, alone, cost)


def _choose_for(group: Group, alone: float, cost: Callable[[Group], float]) -> None:
    searched, least = group[0].scale.clone(), alone
    best = searched
    for share in CLIPPED_SHARES:
        for part in group:
            part.scale.copy_(searched * share)
        found = cost(group)
        if found < least:
            least, best = found, searched * share
    for part in group:
        part.scale.copy_(best)


def _groups(parts: Sequence[ActivationQuantizer]) -> list[Group]:
    """Quantizers that share a scale are one; one with a zero-point has no end to clip, and pixels have their range."""
    groups: dict[ActivationQuantizer, Group] = {}
    for part in parts:
        groups.setdefault(part.leader, []).append(part)
    return [group for leader, group in groups.items() if not leader.asymmetric and leader.name != INPUT_NAME]


def _costliest(costs: list[tuple[Group, float]]) -> Iterator[tuple[Group, float]]:
    left = (1 - _WHOLE) * sum(cost for _, cost in costs)
    ranked = sorted(costs, key=lambda item: -item[1])
    for number, (group, cost) in enumerate(ranked[:_MOST]):
        if sum(other for _, other in ranked[number:]) <= left:
            return
        yield group, cost


def _joint_cost(
    graph: GraphNetwork, parts: Sequence[ActivationQuantizer], images: Tensor, divergence: Divergence
) -> float:
    with in_float(graph):
        teacher = answers(graph, images)
        with switched(parts, True):
            return float(divergence(answers(graph, images), teacher))
