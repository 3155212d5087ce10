"""Channels of one tensor that differ in range share one scale: they are evened out where weights can take it up.

Behind a convolution one channel may reach 40 and the others 4, and then 256 codes are 26 to most channels. Where a
tensor x_c is made to hold x_c / r_c, the layer that makes it takes rows w_c / r_c, which costs nothing, as every output
channel of a weight has its own scale; layers that read it take columns w_c r_c. Operators between that commute with a
positive factor a channel (ReLU, pooling, padding, additions and concatenations of tensors that are treated alike,
gates) hand r on; all others keep r = 1 on both of their sides. In exact arithmetic the network stays what it was.
(Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, for two layers with
a ReLU between; sets of tensors, the constants and the measurement below are [ours].)

    r_c = (m_c / mean(m))^a,  m_c: largest absolute number of the channel on the images that ranges are searched on

A set of tied channels is part of several tensors; the widest ones count, as what a concatenation joins has its grid.
Where a concatenation joins tensors of unlike ranges behind operators that hand nothing on (SiLU, GELU), the parts are
multiplied with a constant a channel, so that the small part has codes; its readers make up for it, as above.

As weights then differ by column, it does not always pay. So it is tried where 8-bit activations leave the answers far
from float's, and the strength a is taken whose answers diverge least, on calibration images; 0 is no change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.aten import attribute, new_constant, op_name
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.activation_cost import WIDE, answers, far_from_float, in_float
from genq_export.quantization.channel_ties import FIXED, ChannelTies, channel_ties, constants_of
from genq_export.quantization.concatenation_factors import free_concatenations, largest_by_channel, scale_constant
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.prepare import Rewrite
from genq_export.quantization.sensitivity import sample_of
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork, range_batches

STRENGTHS = (0.5, 1.0)
_SMALLEST_RATIO = 1e-2
_PAYS = 0.95  # of the divergence without: less is within the noise of images


class ChannelEqualization(Method):
    """Even out channels in the float network, whose ranges are searched behind."""

    name = "channel_equalization"
    phase = Phase.FLOAT

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Try every strength; where none pays, or answers are near float's as it is, the network is left alone."""
        sample = sample_of(images, network.graph)
        if not far_from_float(network.graph, sample):
            return Findings()
        batches = range_batches(images)
        least, taken = _PAYS * _cost(network, sample, context), 0.0
        for strength in STRENGTHS:
            with network.tried(_rewrite(batches, strength)):
                cost = _cost(network, sample, context)
            if cost < least:
                least, taken = cost, strength
        if taken:
            network.before_placement(_rewrite(batches, taken))
            context.progress.say(f"  channels evened out (strength {taken:g}): answers are closer to float's")
        return Findings()

    def applies(self, network: WorkingNetwork, settings: QuantizeConfig) -> bool:
        """Below 8 bits layers learn together what this would do to each."""
        return settings.activation_bits >= WIDE


CHANNEL_EQUALIZATION = ChannelEqualization()


def _rewrite(batches: Sequence[Tensor], strength: float) -> Rewrite:
    return lambda gm: equalize_channels(gm, batches, strength)


def _cost(network: WorkingNetwork, sample: Tensor, context: MethodContext) -> float:
    """Divergence of the quantized answers from float's, with ranges alone."""
    student = answers(network.graph, sample)
    with in_float(network.graph):
        return float(context.divergence(student, answers(network.graph, sample)))


def equalize_channels(gm: fx.GraphModule, batches: Sequence[Tensor], strength: float) -> int:
    """Even out the channels of every tensor that weights in front and behind can make up for.

    Args:
        gm: A captured float graph, changed in place.
        batches: images, float32 [B, C, H, W] each.
        strength: the exponent a.

    Returns:
        How many tensors were changed.
    """
    free = free_concatenations(gm, batches)
    ties = channel_ties(gm, free)
    moving = {node for node in ties.channels if (ties.of(node) != FIXED).any()}
    ratios = _ratios(ties, largest_by_channel(gm, moving, batches), strength)
    for node in list(gm.graph.nodes):
        if op_name(node) in ("conv2d", "linear") and node in ties.channels:
            _scale_layer(gm, node, ratios[ties.of(node.args[0])], ratios[ties.of(node)])
        elif node in free:
            scale_constant(gm, node, ratios[ties.of(node.args[0])] / ratios[ties.of(node)])
    gm.graph.eliminate_dead_code()
    gm.recompile()
    return len(moving)


def _ratios(ties: ChannelTies, largest: dict[fx.Node, Tensor], strength: float) -> Tensor:
    """r of every set of tied channels, float32: the geometric mean over the widest tensors that it is part of."""
    sums, counts, widest = torch.zeros(ties.sets), torch.zeros(ties.sets), torch.zeros(ties.sets)
    for node, most in largest.items():
        sets = ties.of(node)
        widest[sets] = widest[sets].maximum(torch.tensor(float(len(most))))
    for node, most in largest.items():
        alive, sets = most > 0, ties.of(node)
        logs = torch.where(alive, (most / most[alive].mean()).log(), 0.0) if alive.any() else torch.zeros_like(most)
        counted = (widest[sets] == len(most)).float()
        sums.index_add_(0, sets, logs.cpu() * counted)
        counts.index_add_(0, sets, counted)
    ratios = (sums / counts.clamp_min(1)).exp().clamp(_SMALLEST_RATIO, 1 / _SMALLEST_RATIO) ** strength
    ratios[FIXED] = 1
    return ratios


def _scale_layer(gm: fx.GraphModule, node: fx.Node, read: Tensor, made: Tensor) -> None:
    """Rows of weight and bias are divided by what the layer makes, columns multiplied by what it reads."""
    weight_node, bias_node = constants_of(node)
    assert weight_node is not None
    weight = attribute(gm, str(weight_node.target))
    groups = read.numel() // weight.shape[1]
    columns = read.view(groups, 1, -1).expand(groups, len(weight) // groups, -1).reshape(len(weight), -1)
    ratio = (columns / made[:, None]).view(*weight.shape[:2], *[1] * (weight.dim() - 2)).to(weight)
    with torch.no_grad(), gm.graph.inserting_before(node):
        node.update_arg(1, new_constant(gm, f"{node.name}_evened", weight * ratio))
        if bias_node is not None:
            bias = attribute(gm, str(bias_node.target))
            node.update_arg(2, new_constant(gm, f"{node.name}_bias_evened", bias / made.to(bias)))
