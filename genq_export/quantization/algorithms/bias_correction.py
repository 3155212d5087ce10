"""Biases moved so that every output channel of a quantized layer keeps its mean.

Rounding weights and activations shifts the mean of a channel, most of all in depthwise layers, whose channels have few
weights for the errors to cancel among. With y the float layer's output in the float network and y^ the quantized one's
without its bias in the quantized network, over calibration images and positions:

    b' = E[y] - E[y^]              layer after layer, so that later ones see what earlier ones now give

(bias correction in its empirical form, Nagel et al., arXiv 1906.04721, section 4.2.) It costs nothing in the deployed
file, where the bias is added anyway. It is for networks that are rounded and no more: behind block reconstruction it
undoes what the layers of a block have learned together, at W2A4 four times the loss (docs/numerics.md).
"""

import torch
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.hooks import device_of, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork

CORRECTION_IMAGES = 64  # means over images and positions need no more


class BiasCorrection(Method):
    """Move the biases of a network that was rounded and no more."""

    name = "bias_correction"
    phase = Phase.NETWORK

    def applies(self, network: WorkingNetwork, settings: QuantizeConfig) -> bool:
        """Unless blocks were reconstructed, or training starts from a network that was only rounded."""
        return not network.reconstructed and not settings.trains_from_rounded

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Correct on the first images."""
        gm = network.graph
        correct_biases(gm, images.read(0, min(len(images), CORRECTION_IMAGES)).to(device_of(gm)))
        return Findings()


BIAS_CORRECTION = BiasCorrection()


def correct_biases(gm: GraphNetwork, images: Tensor) -> None:
    """Correct the bias of every quantized layer of a prepared and range-calibrated graph, in place.

    Args:
        gm: the graph.
        images: float32 [B, C, H, W].
    """
    layers = [part for part in gm.modules() if isinstance(part, QuantizedLayer)]
    means: dict[QuantizedLayer, Tensor] = {}

    def keep(layer: QuantizedLayer, _inputs: object, output: Tensor) -> None:
        means[layer] = _channel_means(layer, output)

    def correct(layer: QuantizedLayer, inputs: tuple[Tensor, Tensor]) -> None:
        layer.bias.zero_()  # not subtracted afterwards: it may have been rounded to the accumulator grid
        layer.bias.copy_(means[layer] - _channel_means(layer, layer.forward(*inputs)))

    with torch.no_grad():
        set_quantization(gm, False)
        handles = [layer.register_forward_hook(keep) for layer in layers]
        try:
            gm(images)
        finally:
            set_quantization(gm, True)
            for handle in handles:
                handle.remove()
        handles = [layer.register_forward_pre_hook(correct) for layer in layers]
        try:
            gm(images)
        finally:
            for handle in handles:
                handle.remove()


def _channel_means(layer: QuantizedLayer, output: Tensor) -> Tensor:
    """[B, C, H, W] of a convolution, [..., C] of a linear layer -> float32 [C]."""
    channels_first = output.movedim(1, 0) if layer.op == "conv2d" else output.movedim(-1, 0)
    return channels_first.flatten(1).mean(1, dtype=torch.float64).float()
