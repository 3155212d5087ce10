from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from calibrate import run
from calibrate.prompts import Prompt
from calibrate.sources.distilled_images import DistilledImages, jittered, statistics_distance, swinging
from genq_export.config.build import BuildConfig
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.models.loaded import LoadedModel
from tests.calibrate.conftest import loaded


def draw(model: LoadedModel, steps: int, images: int = 8) -> np.ndarray:
    source = DistilledImages(model, "tiny", CalibrateConfig(steps=steps), "cpu")
    prompts = [Prompt("", number % 3) for number in range(images)]
    pixels, reasons = source.draw(prompts, list(range(images)))
    assert pixels.shape == (images, *model.input_size[1:], 3) and pixels.dtype == np.uint8
    assert reasons == [None] * images
    return pixels


def distance(model: LoadedModel, pixels: np.ndarray) -> float:
    with torch.no_grad(), statistics_distance(model.module) as distances:
        model.module(model.normalize(torch.from_numpy(pixels)))
    return float(sum(distances))


def test_optimising_brings_the_stored_pixels_nearer_to_the_statistics(convnet: LoadedModel) -> None:
    assert distance(convnet, draw(convnet, 60)) < 0.3 * distance(convnet, draw(convnet, 1))


@pytest.mark.parametrize("size", [16, 64])
def test_the_same_seeds_give_the_same_bytes(convnet: LoadedModel, size: int) -> None:
    model = replace(convnet, input_size=(3, size, size))
    torch.manual_seed(5)
    first = draw(model, 3)
    torch.manual_seed(6)
    assert np.array_equal(first, draw(model, 3))
    assert all(parameter.grad is None for parameter in convnet.module.parameters())


def test_large_images_are_spectra_that_come_to_the_statistics_and_the_classes(convnet: LoadedModel) -> None:
    large = replace(convnet, input_size=(3, 64, 64))
    settings = DistilledImages(large, "tiny", CalibrateConfig(), "cpu").settings
    assert (settings["method"], settings["steps"], settings["batch_size"]) == ("spectra", 40, 32)
    first, last = draw(large, 1), draw(large, 60)
    assert distance(large, last) < 0.7 * distance(large, first)
    with torch.no_grad():
        logits = large.module(large.normalize(torch.from_numpy(last)))
    labels = torch.arange(8) % 3
    assert nn.functional.cross_entropy(logits, labels) < nn.functional.cross_entropy(
        large.module(large.normalize(torch.from_numpy(first))), labels
    )


def test_jitter_moves_and_mirrors_and_loses_nothing() -> None:
    images = torch.arange(2 * 3 * 56 * 56.0).reshape(2, 3, 56, 56)
    torch.manual_seed(0)
    found = [jittered(images) for _ in range(20)]
    assert len({float(moved[0, 0, 0, 0]) for moved in found}) > 5
    assert all(torch.equal(moved.flatten(2).sort().values, images.flatten(2)) for moved in found)


def _vit() -> LoadedModel:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return loaded(VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3))


def test_a_transformer_comes_to_see_the_class_asked_for() -> None:
    vit = _vit()
    with torch.no_grad():
        logits = vit.module(vit.normalize(torch.from_numpy(draw(vit, 60, images=6))))
    assert logits.argmax(1).tolist() == [0, 1, 2, 0, 1, 2]


def test_swing_shifts_what_strided_convolutions_see_and_nothing_else() -> None:
    strided, plain = nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3)
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    before, unshifted = strided(x), plain(x)
    torch.manual_seed(0)
    with swinging(nn.ModuleList([strided, plain])):
        shifted = [strided(x) for _ in range(20)]
        assert torch.equal(plain(x), unshifted)
    assert all(y.shape == before.shape for y in shifted) and not all(torch.equal(y, before) for y in shifted)
    assert torch.equal(strided(x), before)


def test_a_network_with_nothing_to_distil_from_is_refused() -> None:
    with pytest.raises(UserError, match="neither BatchNorm statistics nor attention"):
        draw(loaded(nn.Sequential(nn.Flatten(), nn.Linear(768, 3))), 1)


def test_a_whole_set_without_generator_or_class_names(
    tmp_path: Path, make_config: Callable[..., BuildConfig], convnet: LoadedModel
) -> None:
    config = make_config(generator="distill", images=7, steps=2)
    assert run.problems(config) == []
    run.run(Workspace.open(tmp_path / "b"), config, replace(convnet, class_names=None), Progress(quiet=True))
    rows = read_rows(tmp_path / "b" / "calibration")
    assert len(rows) == 7 and all(row.kept and row.prompt == "" for row in rows)
    assert {row.class_name for row in rows} == {"class 0", "class 1", "class 2"}
