"""What a layer's quantization costs, and bits by layer under a budget."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.config.quantize import LayerOverride, QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.source import load_model
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationCache, ActivationsInMemory
from genq_export.quantization.algorithms.mixed_precision import (
    MIXED_PRECISION,
    WIDTHS,
    Choice,
    assign,
    cheapest_widths,
    options_to_measure,
)
from genq_export.quantization.method import MethodContext
from genq_export.quantization.placement import Placement
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.sensitivity import input_quantizers, measure, ranked
from genq_export.quantization.working_network import WorkingNetwork
from genq_export.targets import rule_for
from genq_export.tasks.losses import kl_divergence
from genq_export.zoo import test_set as zoo_test_set

Prepared = Callable[..., tuple[GraphNetwork, Placement]]
Settings = Callable[..., QuantizeConfig]


def divergence(gm: GraphNetwork, images: Tensor) -> float:
    with torch.no_grad():
        quantized = gm(images)
        set_quantization(gm, False)
        teacher = gm(images)
        set_quantization(gm, True)
    return float(kl_divergence(quantized, teacher))


@pytest.mark.parametrize("name", ["residual", "gated", "attention"])
def test_every_layer_has_a_cost_and_the_graph_is_left_as_it_was(prepared: Prepared, images: Tensor, name: str) -> None:
    gm, _ = prepared(name)
    with torch.no_grad():
        before = gm(images)
        costs = measure(gm, images)
        assert torch.equal(gm(images), before)
    pairs = input_quantizers(gm)
    assert [cost.name for cost in costs] == [layer.name for layer, _ in pairs]
    assert [(cost.weight_bits, cost.activation_bits) for cost in costs] == [
        (layer.grid.bits, quantizer.grid.bits) for layer, quantizer in pairs
    ]
    found = [cost.kl for cost in ranked(costs)]
    assert found == sorted((cost.kl for cost in costs), reverse=True) and found[-1] >= 0


def test_fewer_bits_cost_more_and_none_cost_nothing(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("residual")
    costs = measure(gm, images, lambda layer, quantizer: [(2, None), (8, None), (None, 2), (None, 8), (None, None)])
    for start in range(0, len(costs), 5):
        weight2, weight8, input2, input8, nothing = (cost.kl for cost in costs[start : start + 5])
        assert weight2 > weight8 and input2 > input8
        assert nothing == pytest.approx(0, abs=1e-6)


def test_the_programme_finds_what_trying_everything_finds() -> None:
    costs = ({2: 9.0, 4: 1.0, 8: 0.0}, {2: 2.0, 4: 1.5, 8: 0.0})
    full = [{bits: cost.get(bits, 100.0) for bits in WIDTHS} for cost in costs]
    choices = [
        Choice((name,), cost, {bits: bits * count for bits in WIDTHS})
        for name, cost, count in zip("ab", full, (10, 30), strict=True)
    ]
    for budget in (80, 100, 140, 200, 280, 320):
        tried = [(full[0][a] + full[1][b], a, b) for a in WIDTHS for b in WIDTHS if 10 * a + 30 * b <= budget]
        found = cheapest_widths(choices, budget)
        assert found is not None
        assert full[0][found["a"]] + full[1][found["b"]] == pytest.approx(min(tried)[0])
    assert cheapest_widths(choices, 79) is None


@pytest.mark.parametrize("average", [2.0, 3.5, 8.0])
def test_an_average_is_kept_for_weights_and_inputs(
    prepared: Prepared, settings: Settings, images: Tensor, average: float
) -> None:
    gm, _ = prepared("attention")
    config = settings(4, mixed_precision={"average_bits": average})
    found = assign(gm, measure(gm, images, options_to_measure(gm, config)), config, rule_for("onnxruntime"))
    assert set(found) == {layer.name for layer, _ in input_quantizers(gm)[1:-1]}
    sizes = {layer.name: layer.weight.numel() for layer, _ in input_quantizers(gm)}
    spent = sum((found[name].weight_bits or 0) * sizes[name] for name in found)
    assert spent <= average * sum(sizes[name] for name in found)
    if average in (2.0, 8.0):
        assert {(bits.weight_bits, bits.activation_bits) for bits in found.values()} == {(average, average)}


def test_layers_with_bits_by_name_keep_them(prepared: Prepared, settings: Settings, images: Tensor) -> None:
    gm, _ = prepared("residual")
    config = settings(4, mixed_precision={"average_bits": 3}, layers={"dilated": {"weight_bits": 8}})
    found = assign(gm, measure(gm, images, options_to_measure(gm, config)), config, rule_for("onnxruntime"))
    assert set(found) == {"depthwise"}


@pytest.mark.parametrize(("target", "least"), [("onnxruntime", 4), ("tensorrt", 8)])
def test_a_size_budget_counts_bytes_as_the_target_stores_them(
    prepared: Prepared, settings: Settings, images: Tensor, target: str, least: int
) -> None:
    gm, _ = prepared("residual", target)
    layers = [layer for layer, _ in input_quantizers(gm)]
    ends = sum(layer.weight.numel() for layer in (layers[0], layers[-1]))
    inner = sum(layer.weight.numel() for layer in layers[1:-1])
    bytes_needed = ends + inner * least // 8 + 12 * sum(len(layer.bias) for layer in layers)
    config = settings(4, mixed_precision={"size_budget": bytes_needed})
    costs = measure(gm, images, options_to_measure(gm, config))
    found = assign(gm, costs, config, rule_for(target))  # type: ignore[arg-type]
    assert {bits.weight_bits for bits in found.values()} == {least}
    assert all(bits.activation_bits is None for bits in found.values())
    with pytest.raises(UserError, match=rf"size_budget.*it takes {bytes_needed}"):
        less = settings(4, mixed_precision={"size_budget": bytes_needed - 1})
        assign(gm, costs, less, rule_for(target))  # type: ignore[arg-type]


class Unread(ActivationsInMemory):
    """Images that are not to be looked at."""

    def read(self, start: int, stop: int) -> Tensor:
        pytest.fail("measured first")


def test_a_size_budget_that_cannot_be_met_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    config = BuildConfig.for_model("fashion_resnet", size_budget="9kB")
    model, rule = load_model(config.model), rule_for(config.target)
    images = ActivationsInMemory(model.normalize(torch.from_numpy(zoo_test_set()[0][:1])))
    network = WorkingNetwork(model, config, images)
    assert network.graph  # ranges are searched on images, which is no measuring
    cache = ActivationCache(0, tmp_path)
    context = MethodContext(seed=0, rule=rule, partial=tmp_path, progress=Progress(quiet=True), cache=cache)
    with pytest.raises(UserError, match=r"size_budget: 9000 bytes do not hold this network on onnxruntime"):
        MIXED_PRECISION.apply(network, Unread(torch.empty(1)), config.quantize, context)


def test_budgets_are_read_with_their_unit_and_exclude_each_other() -> None:
    assert BuildConfig.for_model("resnet50", size_budget="20MB").quantize.mixed_precision.size_budget == 20_000_000
    with pytest.raises(UserError, match="average_bits or size_budget, not both"):
        BuildConfig.for_model("resnet50", size_budget="20MB", average_bits=5)
    with pytest.raises(UserError, match="average_bits"):
        BuildConfig.for_model("resnet50", average_bits=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_resnet", "fashion_mobilenet", "fashion_vit"])
def test_mixed_bits_beat_uniform_ones_on_the_zoo(name: str) -> None:
    model, rule = load_model(ModelConfig(name=name)), rule_for("onnxruntime")  # type: ignore[call-arg]
    images = model.normalize(torch.from_numpy(zoo_test_set()[0][:64]))
    uniform = BuildConfig.for_model(name, bits=3, average_bits=3).quantize

    def network(layers: dict[str, LayerOverride]) -> GraphNetwork:
        gm, _ = prepare(model.module, model.input_size, uniform.model_copy(update={"layers": layers}), rule)
        calibrate_ranges(gm, [images[:32]])
        return gm

    gm = network({})
    found = assign(gm, measure(gm, images[:32], options_to_measure(gm, uniform)), uniform, rule)
    assert divergence(network(found), images[32:]) < 0.7 * divergence(gm, images[32:])
