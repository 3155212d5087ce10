"""Bias correction: channels keep their means, the float network keeps its bias."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.algorithms.bias_correction import correct_biases
from genq_export.quantization.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


def layers(gm: GraphNetwork) -> list[QuantizedLayer]:
    return [part for part in gm.modules() if isinstance(part, QuantizedLayer)]


def channel_means(gm: GraphNetwork, images: Tensor, quantized: bool) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(part: QuantizedLayer, _inputs: object, output: Tensor) -> None:
        channels_first = output.movedim(1 if part.op == "conv2d" else -1, 0)
        found[part.name] = channels_first.flatten(1).mean(1)

    handles = [part.register_forward_hook(keep) for part in layers(gm)]
    set_quantization(gm, quantized)
    try:
        with torch.no_grad():
            gm(images)
    finally:
        set_quantization(gm, True)
        for handle in handles:
            handle.remove()
    return found


@pytest.mark.parametrize("network", ["residual", "attention"])
def test_every_channel_keeps_its_mean(prepared: Prepared, images: Tensor, network: str) -> None:
    gm, _ = prepared(network, "onnxruntime", 3)
    expected = channel_means(gm, images, quantized=False)
    before = channel_means(gm, images, quantized=True)
    correct_biases(gm, images)
    after = channel_means(gm, images, quantized=True)
    coarsest = max(float(part.scale) for part in gm.modules() if isinstance(part, ActivationQuantizer))
    for layer in layers(gm):
        # A bias on the accumulator grid comes to rest at most half a step away.
        step = coarsest * float(layer.weight_scale.max()) if layer.bias_on_grid else 0.0
        assert torch.allclose(after[layer.name], expected[layer.name], rtol=1e-4, atol=step / 2 + 1e-5)
    shifts = [float((before[name] - expected[name]).abs().max()) for name in expected]
    assert max(shifts) > 0.01


def test_the_float_network_is_left_as_it_was(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("residual", "onnxruntime", 3)
    set_quantization(gm, False)
    expected = gm(images)
    correct_biases(gm, images)
    set_quantization(gm, False)
    assert torch.equal(gm(images), expected)
    assert any(not torch.equal(layer.bias, layer.float_bias) for layer in layers(gm))
