"""Bits layer by layer: overrides by pattern, the ends, and layers that stay in float."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.audit.onnxruntime import audit_onnxruntime
from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.hooks import record_codes
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.bit_allocation import bits_by_name
from genq_export.quantization.placement import Placement
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Network = Callable[[str], nn.Module]
Settings = Callable[..., QuantizeConfig]


def quantized(module: nn.Module, config: QuantizeConfig, images: Tensor) -> tuple[GraphNetwork, Placement]:
    gm, placement = prepare(module, (3, 16, 16), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [images])
    return gm, placement


def test_later_patterns_win_and_may_name_the_ends(settings: Settings) -> None:
    overrides = {"*": {"weight_bits": 3}, "b?": {"activation_bits": 8}, "b2": {"weight_bits": 2}}
    config = settings(4, first_last_bits=6, layers=overrides)
    bits = bits_by_name(["a", "b1", "b2", "c"], ["p"], config)
    found = [(part.weight_bits, part.activation_bits) for part in bits.values()]
    assert found == [(3, 6), (3, 8), (2, 8), (3, 6), (3, 4)]


@pytest.mark.parametrize("change", [{"layers": {"layer9.*": {"weight_bits": 2}}}, {"keep_float": ["layer9.*"]}])
def test_a_pattern_that_fits_nothing_names_the_candidates(settings: Settings, change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"'layer9\.\*'; there are a, b, .* and 2 more"):
        bits_by_name([*"abcdefgh"], ["p", "q"], settings(4, **change))


def test_overrides_reach_weights_inputs_and_products(network: Network, settings: Settings, images: Tensor) -> None:
    config = settings(4, layers={"fc2": {"weight_bits": 2, "activation_bits": 6}, "matmul*": {"activation_bits": 8}})
    gm, _ = quantized(network("attention"), config, images)
    layers = {part.name: part for part in gm.modules() if isinstance(part, QuantizedLayer)}
    grids = {part.name: part.grid for part in gm.modules() if isinstance(part, ActivationQuantizer)}
    assert layers["fc2"].grid.bits == 2 and layers["fc1"].grid.bits == 4
    assert grids["act"].bits == 6 and grids["softmax"].bits == 8 and grids["norm2"].bits == 4


def test_a_product_kept_in_float_is_listed(network: Network, settings: Settings, images: Tensor) -> None:
    gm, placement = quantized(network("attention"), settings(4, keep_float=["matmul"]), images)
    assert sum(isinstance(part, QuantizedMatMul) for part in gm.modules()) == 1
    reasons = [row["reason"] for row in placement.unquantized if row["op"] == "matmul"]
    assert reasons == ["kept in float as asked ('matmul')"]


@pytest.mark.parametrize("kept", ["dilated", "head"])
def test_a_layer_kept_in_float_folds_exports_and_is_audited_by_its_name(
    network: Network, settings: Settings, images: Tensor, tmp_path: Path, kept: str
) -> None:
    gm, placement = quantized(network("residual"), settings(4, keep_float=[kept]), images)
    assert [row["name"] for row in placement.unquantized] == [kept]
    folded = fold(gm)
    codes, folded_codes = record_codes(gm, images)[1], record_codes(folded, images)[1]
    assert all(torch.equal(codes[name], folded_codes[name]) for name in codes)
    export_onnx(folded, (3, 16, 16), rule_for("onnxruntime"), tmp_path / "model.onnx", int4_storage=True)
    audit = {layer.name: layer.integer for layer in audit_onnxruntime(tmp_path / "model.onnx")}
    assert audit == {name: name != kept for name in ("stem", "depthwise", "dilated", "head")}


def test_a_network_kept_in_float_as_a_whole_is_refused(network: Network, settings: Settings) -> None:
    with pytest.raises(UserError, match="no convolution or linear layer to quantize"):
        prepare(network("residual"), (3, 16, 16), settings(4, keep_float=["*"]), rule_for("onnxruntime"))


def test_the_options_survive_yaml(tmp_path: Path) -> None:
    layers = "quantize.layers={layer1.*: {weight_bits: 2}}"
    config = BuildConfig.for_model("resnet50", keep_float=["fc"], first_last_bits=6, settings=[layers])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert BuildConfig.read(path) == config
    assert config.quantize.layers["layer1.*"].weight_bits == 2 and config.quantize.first_last_bits == 6
