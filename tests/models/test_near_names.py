"""A name that fits no door finds the names near it, of every door."""

from pathlib import Path

import pytest

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.near_names import near_names
from genq_export.models.source import check_name

DOORS = (["fashion_resnet"], ["torchvision:resnet50", "torchvision:swin_t"], ["resnet50", "resnet18", "resnet34"])


def test_prefixes_and_tags_do_not_count() -> None:
    assert near_names("swin_t", DOORS)[0] == "torchvision:swin_t"
    assert near_names("Resnet5O", DOORS) == ["resnet50", "torchvision:resnet50", "resnet18"]
    assert near_names("torchvison:resnet50.V3", DOORS)[:2] == ["torchvision:resnet50", "resnet50"]
    assert near_names("xyzzy", DOORS) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("squeezenet1_2", "torchvision:squeezenet1_0"),
        ("resnet5o", "resnet50, torchvision:resnet50"),
        ("torchvision:resnet5O", "torchvision:resnet50, resnet50"),
        ("fashion_resnt", "fashion_resnet"),
        ("efficientnet_lite", "efficientnet_lite0"),
    ],
)
def test_every_door_suggests(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown model '{name}': did you mean {near}"):
        check_name(ModelConfig(name=name))


def test_a_file_of_another_kind_is_told_what_files_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"net\.pth is no network: .* FILE\.onnx, FILE\.pt2 .* --weights FILE"):
        check_name(ModelConfig(name="net.pth"))
