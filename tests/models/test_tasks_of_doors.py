"""Doors know what their networks are for, and give outputs under names that say what they are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.source import identity, load_model, problems

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}


def saved(folder: Path, network: str, settings: str, **values: Any) -> Path:
    """A network of transformers with random weights and an image processor."""
    import transformers

    torch.manual_seed(0)
    made = getattr(transformers, network)(getattr(transformers, settings)(**values))
    made.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("network", "settings", "values", "task", "outputs"),
    [
        (
            "SegformerForSemanticSegmentation", "SegformerConfig",
            {"hidden_sizes": [8, 8, 8, 8], "depths": [1] * 4, "num_attention_heads": [1] * 4, "num_labels": 5},
            "segmentation", {"masks": (5, 8, 8)},
        ),
        (
            "YolosForObjectDetection", "YolosConfig",
            TINY | {"image_size": [32, 32], "patch_size": 8, "num_detection_tokens": 12, "num_labels": 3},
            "detection", {"boxes": (12, 4), "scores": (12, 3)},
        ),
        ("Dinov2Model", "Dinov2Config", TINY | {"image_size": 28, "patch_size": 7}, "embedding", {"embedding": (32,)}),
        (
            "CLIPVisionModelWithProjection", "CLIPVisionConfig",
            TINY | {"image_size": 32, "patch_size": 8, "projection_dim": 16},
            "embedding", {"embedding": (16,)},
        ),
    ],
)  # fmt: skip
def test_a_folder_of_transformers_says_what_it_is_for(
    network: str, settings: str, values: dict[str, Any], task: str, outputs: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    config = ModelConfig(name=f"{saved(tmp_path / 'net', network, settings, **values)}")
    model = load_model(config)
    assert (model.task, dict(model.outputs)) == (task, outputs)
    with torch.no_grad():
        answer = model.module(torch.zeros(2, *model.input_size))
    assert {name: tuple(tensor.shape[1:]) for name, tensor in answer.items()} == outputs


def test_a_network_of_text_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", "BertModel", "BertConfig", **TINY, vocab_size=20)
    assert "no network that takes an image alone" in problems(ModelConfig(name=f"{folder}"))[0]


def checkpoint(folder: Path, name: str, classes: int) -> Path:
    """Random weights of a network of torchvision."""
    from torchvision import models

    torch.manual_seed(0)
    network = models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    torch.save(network.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def test_detectors_and_segmenters_of_torchvision_come_in(tmp_path: Path) -> None:
    name = "torchvision:ssdlite320_mobilenet_v3_large"
    weights = checkpoint(tmp_path, name.partition(":")[2], 91)
    model = load_model(ModelConfig(name=name, weights=weights, input_size=(3, 160, 160)))
    assert model.task == "detection" and model.classes == 90 and model.class_names is not None
    with torch.no_grad():
        answer = model.module(torch.rand(2, *model.input_size))
    assert answer["boxes"].shape[2] == 4 and answer["scores"].shape[1:] == model.outputs["scores"]
    assert bool((answer["boxes"][..., 2:] >= answer["boxes"][..., :2]).all()) and float(answer["scores"].max()) <= 1


def test_a_detector_of_two_stages_is_no_network_of_a_fixed_shape() -> None:
    with pytest.raises(UserError, match="unknown model 'torchvision:fasterrcnn_resnet50_fpn'"):
        load_model(ModelConfig(name="torchvision:fasterrcnn_resnet50_fpn"))


def test_outputs_and_task_of_the_users_are_part_of_what_the_network_is(tmp_path: Path) -> None:
    plain, inner = ModelConfig(name="fashion_resnet"), ModelConfig(name="fashion_resnet", outputs=("layer2",))
    told = ModelConfig(name="fashion_resnet", task="embedding")
    assert len({identity(config) for config in (plain, inner, told)}) == 3
    assert load_model(told).task == "embedding" and load_model(told).classes == 0
    assert list(load_model(inner).outputs) == ["layer2"]
    with pytest.raises(UserError, match=r"gives 'logits' .* which is no segmentation: it needs one output"):
        load_model(ModelConfig(name="fashion_resnet", task="segmentation"))
