"""What is said of the preprocessing stands in the place of what a door says: pixels, identity, bad figures."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import identity, with_module
from runtime_tests.report.reproduce import command


def described(**given: Any) -> LoadedModel:
    return with_module(ModelConfig(name="fashion_resnet", **given), torch.nn.Identity())


def picture(width: int = 70, height: int = 50) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_figures_are_taken_as_they_are_given() -> None:
    model = described(mean=(0.1, 0.2, 0.3), std="0.5")
    assert (model.mean, model.std, model.input_size) == ((0.1, 0.2, 0.3), (0.5,) * 3, (3, 32, 32))


def test_bgr_is_rgb_with_its_colours_turned_round() -> None:
    rgb = described(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).transform()(picture())
    bgr = described(mean=(0.3, 0.2, 0.1), std=(0.7, 0.6, 0.5), layout="BGR").transform()(picture())
    assert torch.equal(bgr, rgb.flip(0)) and not torch.equal(bgr, rgb)


@pytest.mark.parametrize("given", [{}, {"layout": "BGR", "mean": (0.1, 0.2, 0.3)}])
def test_pixels_and_pictures_agree_whatever_is_given(given: dict[str, Any]) -> None:
    model = described(**given)
    pixels = np.asarray(picture(32, 32))
    by_picture = model.transform()(Image.fromarray(pixels))
    assert torch.allclose(model.normalize(torch.from_numpy(pixels.copy())[None])[0], by_picture, atol=1e-6)


def test_a_crop_keeps_its_share() -> None:
    whole, half = (described(crop=share).transform()(picture(64, 64)) for share in (1, 0.5))
    exact = np.asarray(picture(64, 64))[16:48, 16:48]  # half of 64 pixels is what the network takes
    assert torch.allclose(half, described().normalize(torch.from_numpy(exact.copy())[None])[0], atol=1e-6)
    assert not torch.allclose(whole, half, atol=0.1)


@pytest.mark.parametrize("size", [(3, 24, 40), (1, 16, 16)])
def test_an_input_size_decides_height_width_and_channels(size: tuple[int, int, int]) -> None:
    model = described(input_size=size)
    assert model.transform()(picture()).shape == size
    assert len(model.mean) == len(model.std) == size[0]


def test_a_timm_network_is_made_for_the_size() -> None:
    from genq_export.models.door import Door
    from genq_export.models.source import door_for

    for name in ("test_vit", "test_resnet"):
        config = ModelConfig(name=name, input_size=(1, 96, 96))
        door: Door = door_for(config)
        assert door.load(config, pretrained=False).module(torch.zeros(2, 1, 96, 96)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mean": (123.7, 116, 103)}, "divide figures for 0 to 255 by 255"),
        ({"std": (0.5, 0, 0.5)}, "nothing is divided by 0"),
        ({"input_size": "3,0,32"}, "each from 1 to 16384"),
        ({"input_size": "3,32"}, "Field required"),
        ({"input_size": "3,32,32,32"}, "at most 3 items"),
        ({"input_size": "three,32,32"}, "valid integer"),
        ({"input_size": (3, 32, 32), "mean": (0.5, 0.5)}, "2 numbers for 3 channels"),
        ({"layout": "GBR"}, "'RGB' or 'BGR'"),
        ({"crop": 0}, "greater than 0"),
        ({"crop": 2}, "less than or equal to 1"),
    ],
)
def test_figures_that_cannot_be_are_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        BuildConfig.for_model("fashion_resnet", **given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [{"mean": (0.5, 0.5)}, {"layout": "BGR", "input_size": (1, 32, 32)}])
def test_figures_that_do_not_fit_the_network_are_one_line(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="channels"):
        described(**given)


def test_each_figure_changes_the_identity_and_stands_in_the_command() -> None:
    given = {"input_size": "3,40,40", "mean": "0.1,0.2,0.3", "std": "0.5", "crop": 0.9, "layout": "BGR"}
    plain = identity(ModelConfig(name="fashion_resnet"))
    found = {identity(BuildConfig.for_model("fashion_resnet", **{name: value}).model) for name, value in given.items()}
    assert len(found | {plain}) == len(given) + 1
    told = command(BuildConfig.for_model("fashion_resnet", **given))
    assert "--input-size 3,40,40 --mean 0.1,0.2,0.3 --std 0.5 --crop 0.9 --layout BGR" in told
