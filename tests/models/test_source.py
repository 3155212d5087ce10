"""Doors for networks: zoo, timm names, checkpoints, and clear words for what does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.source import (
    all_doors,
    check_name,
    door_for,
    has_class_names,
    identity,
    load_model,
    problems,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm

    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_zoo_networks_come_with_preprocessing_and_names() -> None:
    model = load_model(ModelConfig(name="fashion_resnet"))
    assert model.input_size == (3, 32, 32)
    assert model.class_names == zoo.CLASS_NAMES
    assert not model.module.training
    assert model.module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_pixels_and_pictures_meet_in_one_preprocessing() -> None:
    from PIL import Image

    model = load_model(ModelConfig(name="fashion_resnet"))
    pixels, _ = zoo.test_set()
    by_array = model.normalize(torch.from_numpy(pixels[:4]))
    by_picture = torch.stack([model.transform()(Image.fromarray(picture)) for picture in pixels[:4]])
    assert torch.allclose(by_array, by_picture, atol=1e-6)


def test_a_timm_network_takes_a_checkpoint(checkpoint: Path) -> None:
    model = load_model(ModelConfig(name="test_resnet", weights=checkpoint))
    assert model.classes == 1000
    assert model.class_names is not None and len(model.class_names) == 1000


def test_an_unknown_name_brings_suggestions() -> None:
    with pytest.raises(UserError, match=r"unknown model 'fashion_resnt'.*fashion_resnet"):
        load_model(ModelConfig(name="fashion_resnt"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.safetensors", b"not safetensors"), ("a.pth", b"not a checkpoint"), ("a.pth", b""), ("a.safetensors", b"")],
)
def test_an_unreadable_checkpoint_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_model(ModelConfig(name="test_resnet", weights=path))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Payload()}, path)
    with pytest.raises(UserError, match=r"evil\.pth is not a plain weights file"):
        load_model(ModelConfig(name="test_resnet", weights=path))


def test_a_checkpoint_of_another_shape_is_named_by_tensor(tmp_path: Path, checkpoint: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(checkpoint)
    state["fc.weight"] = torch.zeros(3, 3)
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    with pytest.raises(UserError, match=r"'fc\.weight' is \(3, 3\)"):
        load_model(ModelConfig(name="test_resnet", weights=path))


def test_a_class_list_of_the_wrong_length_is_counted(tmp_path: Path, checkpoint: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"names 2 classes.*has 1000"):
        load_model(ModelConfig(name="test_resnet", weights=checkpoint, classes=names))


def test_every_missing_file_is_listed() -> None:
    found = problems(ModelConfig(name="test_resnet", weights=Path("no.pth"), classes=Path("no.txt")))
    assert len(found) == 2 and "no.pth" in found[0] and "no.txt" in found[1]


def test_missing_pretrained_weights_bring_a_remedy() -> None:
    (found,) = problems(ModelConfig(name="resnet50"))
    assert "--weights" in found and "HF_HOME" in found


def test_the_identity_follows_the_weights(tmp_path: Path, checkpoint: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(checkpoint.read_bytes() + b" ")
    first, second = (identity(ModelConfig(name="test_resnet", weights=path)) for path in (checkpoint, other))
    assert first != second


def test_every_door_says_what_it_offers() -> None:
    offers = [offer.name for door in all_doors() for offer in door.offers("resnet5")]
    assert "resnet50.a1_in1k" in offers and all("resnet5" in name for name in offers)
    plain = [offer.name for door in all_doors() for offer in door.offers("")]
    assert plain == [
        *zoo.ZOO_MODELS, *zoo.ZOO_SCENE_MODELS, "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2",
        "FILE.py:FUNCTION", "FILE.pt2", "torchvision:NAME", "FILE.onnx", "NAME, hf-hub:OWNER/NAME, local-dir:FOLDER",
        "./FOLDER, OWNER/NAME",
    ]  # fmt: skip


def test_doors_answer_for_the_generator_and_the_test_set() -> None:
    doors = {name: door_for(ModelConfig(name=name)) for name in ("fashion_vit", "efficientnet_lite0", "resnet50")}
    config = ModelConfig(name="fashion_vit")
    assert [door.default_generator(config) for door in doors.values()] == [zoo.ZOO_PIPELINE, None, None]
    assert [door.evaluation_set("fashion_vit") is None for door in doors.values()] == [False, True, True]
    assert all(door.has_class_names(ModelConfig(name=name)) for name, door in doors.items())
    assert not has_class_names(ModelConfig(name="vit_base_patch16_224.augreg_in21k"))


def test_a_name_that_no_door_takes_is_unknown() -> None:
    for ask in (load_model, identity, check_name):
        with pytest.raises(UserError, match="unknown model 'no such/network'"):
            ask(ModelConfig(name="no such/network"))


def test_class_names_of_the_users_change_the_identity(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\n")
    for name in ("fashion_resnet", "resnet50"):
        config = ModelConfig(name=name)
        assert identity(config) != identity(config.model_copy(update={"classes": tmp_path / "names.txt"}))
