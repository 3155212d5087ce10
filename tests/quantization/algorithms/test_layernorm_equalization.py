"""LayerNorm outputs with even channels: the float network is unchanged, the quantized one is better."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, fx, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.aten import op_name
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.quantization.algorithms.layernorm_equalization import equalize_layernorms
from genq_export.quantization.capture import capture
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Network = Callable[[str], nn.Module]
Settings = Callable[..., QuantizeConfig]


def uneven(network: Network) -> nn.Module:
    """The attention network with LayerNorm gains from 1/8 to 8, which the next weights undo."""
    module = network("attention")
    gains = torch.logspace(-3, 3, 8, base=2)
    for norm, reader in ((module.norm1, module.qkv), (module.norm2, module.fc1)):
        norm.weight.copy_(gains)
        reader.weight.div_(gains)
    return module


def evened(images: Tensor) -> Callable[[fx.GraphModule], object]:
    return partial(equalize_layernorms, batches=[images], bits=4)


def norms(gm: fx.GraphModule) -> list[fx.Node]:
    return [node for node in gm.graph.nodes if op_name(node) == "layer_norm"]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_float_network_is_unchanged_and_its_channels_are_even(
    network: Network, images: Tensor, strength: float
) -> None:
    module = uneven(network)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    gm = capture(module, (3, 16, 16))
    expected = gm(images)
    changed = equalize_layernorms(gm, [images[:8], images[8:]], bits=4, strength=strength)
    assert changed == [node.name for node in norms(gm)[:2]]
    assert torch.allclose(gm(images), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    gain = gm.get_buffer(str(norms(gm)[0].args[2].target))  # type: ignore[union-attr]
    assert float(gain.max() / gain.min()) < 64 ** (1 - strength) * 4


def test_one_scale_then_serves_all_channels(network: Network, settings: Settings, images: Tensor) -> None:
    module, errors = uneven(network), []
    for even in (False, True):
        config = settings(4)
        gm, _ = prepare(module, (3, 16, 16), config, rule_for("onnxruntime"), [evened(images)] if even else [])
        calibrate_ranges(gm, [images])
        errors.append(float((gm(images) - module(images)).square().mean()))
    assert errors[1] < 0.7 * errors[0]


class Shared(nn.Module):
    """A LayerNorm that an addition reads beside the linear layer, and one without affine parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 6)
        self.plain = nn.LayerNorm(6, elementwise_affine=False)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.flatten(2).transpose(1, 2).repeat(1, 1, 2))
        logits: Tensor = self.head(self.plain(x + self.fc(x))).mean(1)
        return logits


def test_layer_norms_that_others_read_or_that_have_no_gain_are_left() -> None:
    gm = capture(Shared().eval(), (3, 4, 4))
    assert len(norms(gm)) == 2
    assert equalize_layernorms(gm, [torch.randn(4, 3, 4, 4)], bits=4) == []


def test_a_channel_of_zeros_stays_finite(network: Network, settings: Settings, images: Tensor) -> None:
    module = network("attention")
    module.norm1.weight[2] = 0
    module.norm1.bias[2] = 0
    gm, _ = prepare(module, (3, 16, 16), settings(4), rule_for("tensorrt"), [evened(images)])
    calibrate_ranges(gm, [images])
    assert bool(torch.isfinite(gm(images)).all())


def test_softmax_is_on_an_unsigned_grid_and_a_norm_is_quantized_once_behind_it_all(
    network: Network, settings: Settings, images: Tensor
) -> None:
    gm, _ = prepare(uneven(network), (3, 16, 16), settings(4), rule_for("tensorrt"), [evened(images)])
    grids = {part.name: part.grid for part in gm.modules() if isinstance(part, ActivationQuantizer)}
    assert not grids["softmax"].signed
    assert [name for name in grids if name.startswith("norm1")] == ["norm1"]
