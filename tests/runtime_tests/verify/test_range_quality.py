"""Scales are held against those that the same images give again."""

from pathlib import Path

import pytest
import torch

from genq_export.config.build import BuildConfig
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network.files import load_reference
from runtime_tests.verify.range_quality import quantizers, range_quality, searched_scales
from runtime_tests.verify.results import RangeQuality
from runtime_tests.verify.weight_faults import strayed
from tests.runtime_tests.measured import messages, run


def test_the_same_images_give_the_same_scales_and_a_changed_one_stands_out(
    pristine_build: Path, model: LoadedModel, few_images: Path
) -> None:
    reference = load_reference(pristine_build)
    images = load_images(sorted(few_images.rglob("*.png")), model)
    searched = searched_scales(reference, images.split(64), None, pow2=False)
    assert {item.ratio for item in range_quality(reference, searched)} == {1.0}
    assert all(part.enabled for part in quantizers(reference))
    changed = quantizers(reference)[3]
    changed.scale.mul_(1.5)
    found = {item.name: item.ratio for item in range_quality(reference, searched)}
    assert found.pop(changed.name) == pytest.approx(1.5, abs=1e-3) and set(found.values()) == {1.0}


def test_quantizers_of_one_scale_are_judged_by_the_tensor_that_it_was_searched_on(pristine_build: Path) -> None:
    reference = load_reference(pristine_build)
    one, other = [part for part in quantizers(reference) if part.grid.signed][:2]
    other.grid, other.zero_point = one.grid, one.zero_point
    other.scale.copy_(one.scale)
    searched = {one.name: float(one.scale), other.name: float(one.scale) / 3}
    assert {item.ratio for item in range_quality(reference, searched)} == {1.0}
    other.scale.copy_(torch.tensor(float(one.scale) * 1.5))
    assert [item.ratio for item in range_quality(reference, searched)] == pytest.approx([1.0, 4.5], abs=1e-3)


@pytest.mark.parametrize(("ratio", "passes"), [(1.0, True), (0.7, True), (1.2, True), (1.5, False), (0.1, False)])
def test_a_learned_scale_may_have_moved(ratio: float, passes: bool) -> None:
    measured = run(ranges=(RangeQuality(name="act", bits=4, ratio=ratio),))
    assert ("ranges" not in messages(measured)) == passes
    if not passes:
        assert f"the scale of act is {ratio:.2f} times" in messages(measured)["ranges"]


@pytest.mark.parametrize(("ratio", "passes"), [(0.35, True), (0.706, True), (0.67, False), (1.5, False)])
def test_a_range_chosen_by_the_answers_is_one_of_three_shares(ratio: float, passes: bool) -> None:
    settings = BuildConfig.for_model("net", bits=8, preset="quick", settings=["quantize.gptq=false"]).quantize
    assert not settings.uses("reconstruction")
    found = list(strayed([RangeQuality(name="act", bits=8, ratio=ratio)], settings))
    assert (found == []) == passes
