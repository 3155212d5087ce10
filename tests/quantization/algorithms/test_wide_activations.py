"""Which tensors get 8 bits, and what comes of it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import LayerOverride
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.source import load_model
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationCache, ActivationsInMemory
from genq_export.quantization.algorithms.wide_activations import WIDE_ACTIVATIONS, widened
from genq_export.quantization.free_layers import Group, groups_of_tensors
from genq_export.quantization.method import MethodContext
from genq_export.quantization.sensitivity import input_quantizers
from genq_export.quantization.working_network import WorkingNetwork
from genq_export.targets import rule_for
from genq_export.zoo import test_set as zoo_test_set


@st.composite
def groups(draw: st.DrawFn) -> tuple[list[Group], dict[str, float]]:
    """Groups of one to three tensors, and what 8 bits save for each tensor."""
    sizes = draw(st.lists(st.integers(1, 3), max_size=8))
    found = [
        Group(tuple(f"t{number}.{place}" for place in range(size)), (f"r{number}",))
        for number, size in enumerate(sizes)
    ]
    names = [name for group in found for name in group.tensors]
    return found, dict(
        zip(names, draw(st.lists(st.floats(-1, 10), min_size=len(names), max_size=len(names))), strict=True)
    )


@given(groups(), st.integers(2, 8), st.floats(2, 8))
def test_the_mean_is_kept_and_nothing_that_fits_and_saves_is_left(
    given_groups: tuple[list[Group], dict[str, float]], narrow: int, mean: float
) -> None:
    found, saved = given_groups
    chosen = widened(found, saved, narrow, mean)
    wide = [name for group in chosen for name in group.tensors]
    bits = [8 if name in wide else narrow for name in saved]
    assert not wide or sum(bits) <= mean * len(bits) + 1e-6
    gains = {group: sum(saved[name] for name in group.tensors) for group in found}
    assert all(gains[group] > 0 for group in chosen)
    spare = (mean * len(bits) - sum(bits)) / max(8 - narrow, 1)
    for group in found:
        fits = narrow < 8 and len(group.tensors) <= int(spare + 1e-9)
        assert group in chosen or not fits or gains[group] <= 0


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


def test_tensors_of_a_product_go_together_and_what_bits_by_name_bind_is_left() -> None:
    settings = BuildConfig.for_model("fashion_vit", bits=4, preset="quick", activation_bits="auto")
    model = load_model(settings.model)
    images = ActivationsInMemory(model.normalize(torch.from_numpy(zoo_test_set()[0][:32])))
    gm = WorkingNetwork(model, settings, images).graph
    found = groups_of_tensors(gm, settings.quantize)
    tensors = [name for group in found for name in group.tensors]
    assert len(set(tensors)) == len(tensors)
    assert any(len(group.tensors) > 1 for group in found)
    bound = settings.quantize.model_copy(update={"layers": {"blocks.0.*": LayerOverride(weight_bits=6)}})
    fewer = groups_of_tensors(gm, bound)
    assert len(fewer) < len(found)
    assert not any(reader.startswith("blocks.0.") for group in fewer for reader in group.readers)
