"""The shipped classifiers load, are as good as stated, and can be taken as graphs."""

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch

from genq_export import zoo
from tools.train_zoo.classifiers import accuracy
from tools.train_zoo.styles import render_each


@pytest.fixture(scope="module")
def first_thousand() -> tuple[np.ndarray, np.ndarray]:
    images, labels = zoo.test_set()
    return images[:1000], labels[:1000]


@pytest.mark.parametrize(
    ("name", "threshold"), [("fashion_resnet", 0.92), ("fashion_mobilenet", 0.90), ("fashion_vit", 0.89)]
)
def test_accuracy_on_the_first_thousand_test_images(
    name: str, threshold: float, first_thousand: tuple[np.ndarray, np.ndarray]
) -> None:
    model = zoo.create_model(name)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert accuracy(model, *first_thousand) >= threshold


@pytest.mark.parametrize("name", zoo.ZOO_MODELS)
def test_preprocessing_is_what_timm_reads(name: str) -> None:
    model = zoo.create_model(name)
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (3, 32, 32) and config["crop_pct"] == 1.0
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5) and config["interpolation"] == "bilinear"
    assert model.pretrained_cfg["label_names"] == zoo.CLASS_NAMES
    assert zoo.weights_file(name).stat().st_size < 6_000_000


@pytest.mark.parametrize("name", zoo.ZOO_MODELS)
def test_torch_export_takes_any_batch_size(name: str) -> None:
    before = timm.layers.use_fused_attn()
    timm.layers.set_fused_attn(False)
    try:
        model = zoo.create_model(name)
    finally:
        timm.layers.set_fused_attn(bool(before))
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    images = torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-4)


def test_an_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="fashion_resnet"):
        zoo.create_model("fashion_alexnet")


def test_the_style_judge_tells_the_styles_apart(first_thousand: tuple[np.ndarray, np.ndarray]) -> None:
    grey = first_thousand[0][:, 2:30, 2:30, 0]
    styles = np.arange(len(grey)) % len(zoo.STYLES)
    rendered = render_each(grey, styles, np.random.default_rng(0))
    assert accuracy(zoo.create_style_classifier(), rendered, styles) > 0.98
    assert zoo.weights_file("fashion_style").stat().st_size < 200_000


def test_the_image_sets_have_their_documented_form() -> None:
    images, labels = zoo.test_set()
    assert images.shape == (10_000, 32, 32, 3) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [1000] * 10
    few, few_labels = zoo.few_shot_set()
    assert few.shape == (160, 32, 32, 3) and np.bincount(few_labels).tolist() == [16] * 10


def test_padding_keeps_the_image_in_the_middle() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    padded = zoo.to_rgb32(images)
    assert padded.shape == (3, 32, 32, 3) and padded.dtype == np.uint8
    assert np.array_equal(padded[:, 2:30, 2:30, 1], images)
    assert padded[:, :2].max() == padded[:, :, 30:].max() == 0


def test_the_package_imports_without_its_heavy_libraries() -> None:
    check = "import sys, genq_export.zoo; assert not {'torch', 'timm', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
