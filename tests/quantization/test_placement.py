"""Where quantizers go, and which grid they get."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.network.aten import called_module, op_name
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import part_name
from genq_export.quantization.bit_allocation import LayerBits
from genq_export.quantization.capture import capture
from genq_export.quantization.layers import layers_of
from genq_export.quantization.placement import Placement, place
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


def quantizers(gm: GraphNetwork) -> dict[str, ActivationQuantizer]:
    return {part.name: part for part in gm.modules() if isinstance(part, ActivationQuantizer)}


def layers(gm: GraphNetwork) -> dict[str, QuantizedLayer]:
    return {part.name: part for part in gm.modules() if isinstance(part, QuantizedLayer)}


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_both_inputs_of_a_residual_addition_are_quantized(prepared: Prepared, target: str) -> None:
    gm, placement = prepared("residual", target)
    (addition,) = (node for node in gm.graph.nodes if node.target == torch.ops.aten.add.Tensor)
    roots = [source if source.op == "call_module" else source.args[0] for source in addition.args[:2]]
    assert all(isinstance(called_module(gm, root), ActivationQuantizer) for root in roots)
    assert placement.unquantized == []


def test_where_sums_are_float_no_convolution_that_is_added_is_quantized(
    settings: Callable[..., QuantizeConfig],
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Twice(), nn.Conv2d(4, 2, 1), nn.Flatten()).eval()
    names = {}
    for target in ("onnxruntime", "openvino"):
        gm, _ = prepare(module, (3, 4, 4), settings(), rule_for(target))
        names[target] = {name.removesuffix("_requantized") for name in quantizers(gm)}
    assert names["onnxruntime"] - names["openvino"] == {"1.first", "1.second", "2"}, (
        "nor is a result that no integer layer reads"
    )
    assert {"input", "0"} <= names["openvino"]


def test_an_addition_reads_8_bits_and_the_layer_beside_it_its_own(prepared: Prepared) -> None:
    """Behind the pooling: both read what comes out of that."""
    gm, placement = prepared("residual")
    grids = quantizers(gm)
    assert (grids["act"].grid.bits, grids["act_requantized"].grid.bits) == (8, 4)
    node_of = {str(node.target): node for node in gm.graph.nodes if node.op == "call_module"}
    requantized = node_of[part_name("quantizer", "act_requantized")]
    assert op_name(requantized.args[0]) == "max_pool2d"
    assert set(requantized.users) == {node_of[part_name("layer", "depthwise")]}
    assert list(placement.requantized.values()) == [4]
    assert "act_requantized" not in quantizers(prepared("residual", "onnxruntime", 8)[0])


def test_a_layer_that_stays_in_float_reads_what_the_addition_reads(settings: Callable[..., QuantizeConfig]) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Twice(), nn.Conv2d(4, 2, 1), nn.Flatten()).eval()
    gm, _ = prepare(module, (3, 4, 4), settings(keep_float=("1.second",)), rule_for("onnxruntime"))
    wanted = part_name("quantizer", "0_requantized")
    (requantized,) = (node for node in gm.graph.nodes if node.target == wanted)
    readers = {str(reader.target) for reader in requantized.users}
    assert readers == {part_name("layer", "1.first")}


class Twice(nn.Module):
    """Two layers and an addition read one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x) + x  # type: ignore[no-any-return]


class Joined(nn.Module):
    """What a concatenation joins, an addition and a layer read as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        y = self.last(torch.cat((x, torch.relu(self.second(x))), 1))
        return self.head(torch.relu(y + x)).mean((2, 3))


def test_what_a_concatenation_joins_keeps_one_grid(settings: Callable[..., QuantizeConfig]) -> None:
    gm, placement = prepare(Joined().eval(), (3, 8, 8), settings(), rule_for("onnxruntime"))
    assert not placement.requantized
    assert {part.grid.bits for part in quantizers(gm).values() if part.leader is not part} == {4}


def test_every_layer_is_quantized_grouped_depthwise_and_dilated_ones_too(prepared: Prepared) -> None:
    gm, _ = prepared("residual")
    found = layers(gm)
    assert list(found) == ["stem", "depthwise", "dilated", "head"]
    assert found["depthwise"].geometry["groups"] == 8
    assert found["dilated"].geometry["dilation"] == [2, 2]
    assert [part.grid.bits for part in found.values()] == [8, 4, 4, 8]


def test_relu_is_unsigned_where_the_container_can_hold_it(prepared: Prepared) -> None:
    for target in ("onnxruntime", "tensorrt"):
        grids = quantizers(prepared("residual", target)[0])
        assert not grids["act_requantized"].grid.signed and not grids["act1"].grid.signed
        assert grids["input"].grid.signed and grids["input"].grid.bits == 8
    for target, signed in (("onnxruntime", False), ("tensorrt", True)):
        assert quantizers(prepared("residual", target, 8)[0])["act"].grid.signed is signed


def test_barely_negative_activations_take_a_zero_point_where_the_target_can_deploy_it(prepared: Prepared) -> None:
    """TensorRT deploys it by shift, which an unpadded convolution takes and average pooling does not."""
    for name, shifts in (("silu", True), ("swish", True), ("gelu", False)):
        here = quantizers(prepared("gated", "onnxruntime")[0])[name]
        there = quantizers(prepared("gated", "tensorrt")[0])[name]
        assert here.asymmetric and not here.grid.signed and int(here.zero_point) > 0
        assert there.asymmetric is shifts and there.grid.signed is not shifts
        assert int(there.zero_point) == (int(here.zero_point) if shifts else 0)


def test_a_convolution_before_silu_writes_codes_on_onnx_runtime(prepared: Prepared) -> None:
    here = quantizers(prepared("gated", "onnxruntime")[0])
    assert [here[name].grid.bits for name in ("first", "second", "third")] == [8, 8, 8]
    assert not {"first", "second", "third"} & set(quantizers(prepared("gated", "tensorrt")[0]))


def test_attention_products_are_quantized_and_residual_additions_stay_float_with_the_reason(prepared: Prepared) -> None:
    gm, placement = prepared("attention")
    assert sum(isinstance(part, QuantizedMatMul) for part in gm.modules()) == 2
    softmax = next(part for name, part in quantizers(gm).items() if "softmax" in name)
    assert not softmax.grid.signed
    additions = [row for row in placement.unquantized if row["op"] == "add"]
    assert len(additions) == 2 and all("stay float" in row["reason"] for row in additions)
    assert {row["op"] for row in placement.unquantized} == {"add", "layer_norm", "softmax", "gelu"}
    assert all(row["name"] and row["reason"] for row in placement.unquantized)


def test_a_layer_norm_output_is_quantized_once_for_q_k_and_v(prepared: Prepared) -> None:
    names = list(quantizers(prepared("attention")[0]))
    assert names.count("norm1") == 1 and "norm1_2" not in names


class Odd(nn.Module):
    """An operator without an integer form, a hardtanh with default limits, a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv3d(3, 4, 3, padding=1)
        self.limit = nn.Hardtanh()
        self.conv = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(
            self.conv(self.limit(self.conv(self.up(torch.stack([x, x.flip(3)], 2)).mean(2)))).mean((2, 3))
        )
        return logits


def test_what_cannot_be_quantized_is_listed_and_a_layer_called_twice_has_two_names(
    settings: Callable[..., QuantizeConfig],
) -> None:
    gm, placement = prepare(Odd().eval(), (3, 8, 8), settings(), rule_for("onnxruntime"))
    assert [(row["name"], row["op"]) for row in placement.unquantized] == [("up", "conv3d")]
    assert list(layers(gm)) == ["conv", "conv_2", "head"]
    assert quantizers(gm)["limit"].grid.signed


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(400):
            x = torch.relu(x) + x
        logits: Tensor = self.head(self.conv(x).mean((2, 3)))
        return logits


@pytest.mark.slow
def test_a_network_deeper_than_the_stack_is_placed() -> None:
    gm = capture(Deep().eval(), (3, 4, 4))
    for rule in map(rule_for, ("onnxruntime", "tensorrt")):
        bits = {node: LayerBits(4, 4) for node in layers_of(gm.graph)}
        assert len(place(gm.graph, bits, rule).layers) == 2


class DeadChannels(nn.Module):
    """Channels with no weight, and with hardly any, that have a bias all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            self.conv.weight[0] = 0
            self.conv.weight[1] = 1e-13
            self.conv.bias.copy_(torch.tensor([0.037, 0.3, 0.1]))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        return logits


def test_the_bias_of_a_dead_channel_survives(settings: Callable[..., QuantizeConfig], images: Tensor) -> None:
    module = DeadChannels().eval().requires_grad_(False)
    gm, _ = prepare(module, (3, 16, 16), settings(8), rule_for("onnxruntime"))
    calibrate_ranges(gm, [images])
    found = torch.relu(layers(gm)["conv"](*_on_grid(gm, images)))
    expected = torch.relu(module.conv(images))
    assert torch.allclose(found[:, :2], expected[:, :2], atol=1e-4)
    assert torch.allclose(gm(images), module(images), atol=0.05)


def _on_grid(gm: GraphNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    quantizer = quantizers(gm)["input"]
    return quantizer(images), quantizer.scale


def test_ranges_see_every_column_of_a_large_activation(settings: Callable[..., QuantizeConfig]) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.conv(x).mean((2, 3))
            return logits

    gm, _ = prepare(Wide().eval(), (3, 128, 128), settings(4, first_last_bits=4), rule_for("tensorrt"))
    x = torch.zeros(4, 3, 128, 128)
    x[..., 1:] = torch.randn(4, 3, 128, 127, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, 0] = 50.0  # column 0 holds nothing but one outlier
    calibrate_ranges(gm, [x])
    assert float(quantizers(gm)["input"].scale) < 2.0


def test_an_activation_that_is_not_finite_is_named_and_dead_ones_are_reported(
    prepared: Prepared, images: Tensor
) -> None:
    gm, _ = prepared("residual")
    assert "act" not in calibrate_ranges(gm, [images])
    with pytest.raises(UserError, match=r"'input'.*not finite"):
        calibrate_ranges(gm, [images * torch.nan])
    assert "input" in calibrate_ranges(gm, [images * 0])
    assert float(quantizers(gm)["input"].scale) == 1


def test_a_network_without_layers_is_refused(settings: Callable[..., QuantizeConfig]) -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    with pytest.raises(UserError, match="no convolution or linear"):
        prepare(Nothing().eval(), (3, 8, 8), settings(), rule_for("onnxruntime"))
