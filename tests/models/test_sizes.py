"""Networks whose weights have another head or first convolution than their name, and what is no classifier at all."""

import re
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.source import has_class_names, known_classes, load_model, with_classes, with_module


def saved(folder: Path, name: str, **sizes: int) -> Path:
    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model(name, **sizes).state_dict()}, folder / "own.pth")
    return folder / "own.pth"


def names(folder: Path, count: int) -> Path:
    (folder / "names.txt").write_text("\n".join(f"thing {number}" for number in range(count)))
    return folder / "names.txt"


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize(("classes", "channels"), [(10, 3), (10, 1), (1000, 1), (2, 3)])
def test_the_weights_decide_the_sizes(name: str, classes: int, channels: int, tmp_path: Path) -> None:
    path = saved(tmp_path, name, num_classes=classes, in_chans=channels)
    model = load_model(ModelConfig(name=name, weights=path))
    assert (model.classes, model.input_size) == (classes, (channels, 160, 160))
    assert len(model.mean) == len(model.std) == channels
    assert model.module(torch.zeros(2, *model.input_size)).shape == (2, classes)
    own = timm.create_model(name, num_classes=classes, in_chans=channels)
    own.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    x = torch.randn(1, channels, 160, 160)
    assert torch.equal(own.eval()(x), model.module(x))
    assert any(f"{classes:,} class" in note and f"{channels} input channel" in note for note in model.notes)
    assert (model.class_names is None) == (classes != 1000)


def test_torchvisions_networks_take_another_head(tmp_path: Path) -> None:
    from torchvision import models

    torch.save(models.get_model("mobilenet_v3_small", num_classes=7).state_dict(), tmp_path / "seven.pth")
    model = load_model(ModelConfig(name="torchvision:mobilenet_v3_small", weights=tmp_path / "seven.pth"))
    assert model.classes == 7 and model.class_names is None


def test_class_names_are_as_many_as_the_weights_have_classes(tmp_path: Path) -> None:
    path = saved(tmp_path, "test_resnet", num_classes=10)
    config = ModelConfig(name="test_resnet", weights=path, classes=names(tmp_path, 10))
    assert load_model(config).class_names == tuple(f"thing {number}" for number in range(10))
    names(tmp_path, 9)
    with pytest.raises(UserError, match="names 9 classes, the network test_resnet has 10"):
        load_model(config)


def test_classes_are_known_before_anything_is_drawn(tmp_path: Path) -> None:
    config = ModelConfig(name="test_resnet", weights=saved(tmp_path, "test_resnet", num_classes=10))
    known = known_classes(config)
    assert known is not None and known.classes == 10 and not has_class_names(config)
    assert has_class_names(config.model_copy(update={"classes": names(tmp_path, 10)}))


def test_labels_are_looked_at_with_any_number_of_names(tmp_path: Path) -> None:
    assert with_classes(ModelConfig(name="test_resnet", classes=names(tmp_path, 4))).classes == 4
    assert with_classes(ModelConfig(name="test_resnet")).classes == 1000


def test_a_stand_in_has_the_sizes_of_weights_that_are_elsewhere(tmp_path: Path) -> None:
    config = ModelConfig(name="test_resnet", weights=tmp_path / "elsewhere.pth")
    module = timm.create_model("test_resnet", num_classes=10, in_chans=1).eval()
    model = with_module(config, module)
    assert (model.classes, model.input_size, model.class_names) == (10, (1, 160, 160), None)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"num_classes": 0}, r"missing 'fc\.weight'"),
        ({"in_chans": 4}, r"takes images of 4 channels: .* 1 \(grey\) or 3 \(RGB\)"),
    ],
)
def test_what_cannot_be_built_is_said_at_load(sizes: dict[str, int], line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        load_model(ModelConfig(name="test_resnet", weights=saved(tmp_path, "test_resnet", **sizes)))


class Returns(nn.Module):
    """Whatever a function makes of the input."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)  # type: ignore[operator]


def failing(x: Tensor) -> Tensor:
    raise RuntimeError("size mismatch\nand more")


def original_convnext(name: str) -> str:
    """The name of a tensor in the checkpoints of ConvNeXt's authors."""
    name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name).replace(
        "stem.", "downsample_layers.0."
    )
    name = re.sub(r"stages\.(\d)\.blocks\.", r"stages.\1.", name)
    for ours, theirs in (("conv_dw", "dwconv"), ("mlp.fc1", "pwconv1"), ("mlp.fc2", "pwconv2"), ("head.norm", "norm")):
        name = name.replace(ours, theirs)
    return name.replace("head.fc", "head")


def test_older_names_are_changed_as_timm_does(tmp_path: Path) -> None:
    trained = timm.create_model("test_convnext", num_classes=7).eval()
    tensors = {original_convnext(name): tensor for name, tensor in trained.state_dict().items()}
    assert not set(tensors) & {"stem.0.weight", "head.fc.weight"}
    torch.save({"model": tensors}, tmp_path / "w.pth")
    found = load_model(ModelConfig(name="test_convnext", weights=tmp_path / "w.pth"))
    image = torch.randn(1, *found.input_size)
    torch.testing.assert_close(found.module(image), trained(image))
    assert found.classes == 7 and any("older names were changed" in note for note in found.notes)
    del tensors["norm.weight"]
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"missing 'stem\.0\.weight', the file has"):
        load_model(ModelConfig(name="test_convnext", weights=tmp_path / "w.pth"))
