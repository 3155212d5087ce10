"""Which tensors get 8 bits, and what comes of it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.source import load_model
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationCache, ActivationsInMemory
from genq_export.quantization.algorithms.wide_activations import WIDE_ACTIVATIONS, widened
from genq_export.quantization.method import MethodContext
from genq_export.quantization.sensitivity import input_quantizers
from genq_export.quantization.working_network import WorkingNetwork
from genq_export.targets import rule_for
from genq_export.zoo import test_set as zoo_test_set

SAVED = st.dictionaries(st.text("abcdefgh", min_size=1), st.floats(-1, 10), max_size=12)


@given(SAVED, st.integers(2, 8), st.floats(2, 8))
def test_the_mean_is_kept_and_the_best_are_taken(saved: dict[str, float], narrow: int, mean: float) -> None:
    found = widened(saved, narrow, mean)
    bits = [8 if name in found else narrow for name in saved]
    assert not found or sum(bits) <= mean * len(bits) + 1e-6
    assert all(saved[name] > 0 for name in found)
    left = [saved[name] for name in saved if name not in found]
    spare = len(saved) * mean - sum(bits) >= 8 - narrow + 1e-6
    if found:
        assert max(left, default=0) <= min(saved[name] for name in found)
    assert not (narrow < 8 and spare and max(left, default=0) > 0)


def test_auto_is_one_bit_more_than_weights_in_the_mean_and_has_a_name() -> None:
    found = BuildConfig.for_model("fashion_resnet", bits=4, activation_bits="auto").quantize
    assert (found.weight_bits, found.activation_bits, found.wide_activations.mean_bits) == (4, 4, 5)
    assert found.grid_name == "W4A4-8"
    assert BuildConfig.parse(BuildConfig.for_model("fashion_resnet", activation_bits="auto").model_dump(mode="json"))
    narrow = BuildConfig.for_model("fashion_resnet", bits=3, activation_bits="auto").quantize
    assert (narrow.activation_bits, narrow.wide_activations.mean_bits) == (3, 4)


@pytest.mark.parametrize("bits", ["automatic", "4.5", "1", "9"])
def test_other_words_and_numbers_are_refused(bits: str) -> None:
    with pytest.raises(UserError, match=r"quantize\.activation_bits"):
        BuildConfig.for_model("fashion_resnet", activation_bits=bits)


def test_two_ways_to_give_activations_bits_are_refused() -> None:
    with pytest.raises(UserError, match="leave activation_bits=auto out"):
        BuildConfig.for_model("fashion_resnet", activation_bits="auto", average_bits=5)


def test_every_fourth_tensor_of_a_network_gets_eight_bits_and_the_answers_come_nearer(
    tmp_path: Path,
) -> None:
    config = BuildConfig.for_model("fashion_mobilenet", bits=4, preset="quick", activation_bits="auto")
    model = load_model(config.model)
    images = ActivationsInMemory(model.normalize(torch.from_numpy(zoo_test_set()[0][:64])))
    plain = BuildConfig.for_model("fashion_mobilenet", bits=4, preset="quick")
    network, narrow = (WorkingNetwork(model, settings, images) for settings in (config, plain))
    cache, rule = ActivationCache(10**9, tmp_path), rule_for("onnxruntime")
    context = MethodContext(seed=0, rule=rule, partial=tmp_path, progress=Progress(quiet=True), cache=cache)
    found = WIDE_ACTIVATIONS.apply(network, images, config.quantize, context)
    before, after = widths(narrow.graph), widths(network.graph)
    free = [name for name in before if before[name] == 4]
    wide = [name for name in free if after[name] == 8]
    assert set(wide) == set(found.assigned_bits) and 0 < len(wide) <= len(free) / 3
    pixels = images.read(0, 64)
    with torch.no_grad():
        errors = [(part.graph(pixels) - model.module(pixels)).square().mean() for part in (network, narrow)]
    assert errors[0] < 0.7 * errors[1]


def widths(graph: GraphNetwork) -> dict[str, int]:
    """Bits of what every layer reads, by the layer's name."""
    return {layer.name: quantizer.grid.bits for layer, quantizer in input_quantizers(graph)}
