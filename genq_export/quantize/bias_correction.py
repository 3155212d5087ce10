"""Biases moved so that every output channel of a quantized layer keeps its mean.

Rounding weights and activations shifts the mean of a channel, most of all in depthwise layers, whose channels have few
weights for the errors to cancel among. With y the float layer's output in the float network and y^ the quantized one's
without its bias in the quantized network, over calibration images and positions:

    b' = E[y] - E[y^]              layer after layer, so that later ones see what earlier ones now give

(bias correction in its empirical form, Nagel et al., arXiv 1906.04721, section 4.2.) It costs nothing in the deployed
file, where the bias is added anyway. It is for networks that are rounded and no more: behind block reconstruction it
undoes what the layers of a block have learned together, at W2A4 four times the loss (docs/numerics.md).
"""

from typing import Any

import torch
from torch import Tensor, fx

from genq_export.quantize.fake_quant import QuantizedLayer, set_quantization

CORRECTION_IMAGES = 64  # means over images and positions need no more


def correct_biases(gm: fx.GraphModule, float_input: Tensor, quantized_input: Tensor) -> None:
    """Correct the bias of every quantized layer of a graph (a network, or one block of it), in place.

    float_input, quantized_input: float32 [B, ...], what the graph reads in the float and in the quantized network.
    """
    with torch.no_grad():
        set_quantization(gm, False)
        try:
            means = _FloatMeans(gm)
            means.run(float_input)
        finally:
            set_quantization(gm, True)
        _Correct(gm, means.of).run(quantized_input)


class _FloatMeans(fx.Interpreter):
    """Runs the graph and keeps the mean of each output channel of its layers [C]."""

    def __init__(self, gm: fx.GraphModule) -> None:
        super().__init__(gm)
        self.of: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        layer = _layer(self.module, n)
        if layer is not None:
            self.of[n] = _channel_means(layer, result)
        return result


class _Correct(fx.Interpreter):
    """Runs the graph and corrects each layer before the next one sees its output."""

    def __init__(self, gm: fx.GraphModule, means: dict[fx.Node, Tensor]) -> None:
        super().__init__(gm)
        self._means = means

    def run_node(self, n: fx.Node) -> Any:
        layer = _layer(self.module, n)
        if layer is not None:
            layer.bias.zero_()  # not subtracted afterwards: it may have been rounded to the accumulator grid
            layer.bias.copy_(self._means[n] - _channel_means(layer, super().run_node(n)))
        return super().run_node(n)


def _layer(gm: torch.nn.Module, node: fx.Node) -> QuantizedLayer | None:
    part = gm.get_submodule(str(node.target)) if node.op == "call_module" else None
    return part if isinstance(part, QuantizedLayer) else None


def _channel_means(layer: QuantizedLayer, output: Tensor) -> Tensor:
    """[B, C, H, W] of a convolution, [..., C] of a linear layer -> float32 [C]."""
    channels_first = output.movedim(1, 0) if layer.op == "conv2d" else output.movedim(-1, 0)
    return channels_first.flatten(1).mean(1, dtype=torch.float64).float()
