"""torchvision's networks: the preprocessing and class names of their weights, weights from a file, bad names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.source import all_doors, check_name, identity, load_model, problems, with_module
from genq_export.pipeline.build import run_stages


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision import models

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(models.squeezenet1_1().state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["resnet18", "swin_v2_t"])
def test_pictures_are_read_as_the_weights_say(name: str) -> None:
    from PIL import Image
    from torchvision import models

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 411, 3), dtype=np.uint8))
    weights = models.get_model_weights(name).DEFAULT
    model = with_module(ModelConfig(name=f"torchvision:{name}"), torch.nn.Identity())
    assert torch.equal(model.transform()(picture), weights.transforms()(picture))
    assert model.class_names == tuple(weights.meta["categories"])


def test_a_tag_names_older_weights() -> None:
    old, new = (ModelConfig(name=f"torchvision:resnet50{tag}") for tag in (".IMAGENET1K_V1", ""))
    resized = [with_module(config, torch.nn.Identity()).resize for config in (old, new)]
    assert resized == [256, 232] and identity(old) != identity(new)


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet5", "torchvision:resnet50"), ("resnet50.IMAGENET1K_V7", "torchvision:resnet50"), ("resnet19", "resnet18")],
)
def test_a_wrong_name_brings_near_ones(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown model 'torchvision:{name}'.*{near}"):
        check_name(ModelConfig(name=f"torchvision:{name}"))


def test_missing_weights_bring_a_remedy() -> None:
    (found,) = problems(ModelConfig(name="torchvision:vgg16"))
    assert "vgg16-397923af.pth" in found and "--weights FILE" in found and "\n" not in found


def test_weights_from_a_file_and_from_the_cache(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = load_model(ModelConfig(name="torchvision:squeezenet1_1", weights=checkpoint))
    assert model.classes == 1000 and model.module(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    torch.save(model.module.state_dict(), cached)
    config = ModelConfig(name="torchvision:squeezenet1_1")
    assert problems(config) == []
    again = load_model(config)
    assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), model.module.parameters(), strict=True))


def test_the_cache_runs_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (tmp_path / "executed",)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    torch.save(Payload(), cached)
    with pytest.raises(UserError, match="cannot load weights of torchvision:squeezenet1_1"):
        load_model(ModelConfig(name="torchvision:squeezenet1_1"))
    assert not (tmp_path / "executed").exists()


def test_every_network_is_offered_to_a_search() -> None:
    offers = [offer.name for door in all_doors() for offer in door.offers("regnet_y_16gf")]
    assert offers == ["torchvision:regnet_y_16gf"]


@pytest.mark.slow
def test_a_build_to_the_integer_file(checkpoint: Path, tmp_path: Path) -> None:
    config = BuildConfig.for_model(
        "torchvision:squeezenet1_1",
        weights=checkpoint,
        generator="leaves",
        preset="quick",
        bits=8,
        images=4,
        input_size="3,64,64",
    )
    stages = ("calibrate", "quantize", "export")
    assert run_stages(config, tmp_path / "build", stages, Progress(quiet=True)) == stages
    assert "[N, 3, 64, 64]" in (tmp_path / "build" / "README.md").read_text()
