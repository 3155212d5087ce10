"""The classifiers of the zoo, built from timm's own classes, without their weights."""

import importlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import nn

from genq_export.zoo.detector import Detector
from genq_export.zoo.names import CLASS_NAMES, SCENE_SIDE
from genq_export.zoo.segmenter import Segmenter


def build_classifier(name: str) -> nn.Module:
    """Return the untrained network `name`: float32 [N, 3, 32, 32] -> logits [N, 10]; KeyError for other names."""
    model: nn.Module = _BUILDERS[name]()
    config = _pretrained_cfg(name)
    model.pretrained_cfg = config  # type: ignore[assignment]
    model.default_cfg = config  # type: ignore[assignment]
    return model


def build_scene_network(name: str) -> nn.Module:
    """Return the untrained network `name` of `ZOO_SCENE_MODELS`: float32 [N, 3, 80, 80] -> its outputs.

    Raises KeyError for other names.
    """
    return _SCENE_BUILDERS[name]()


def build_style_classifier(styles: int) -> nn.Module:
    """Return the untrained judge of rendering styles: float32 [N, 3, 32, 32] -> logits [N, styles]."""
    widths = (3, 16, 24, 32)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * widths[-1], styles))


def _timm(submodule: str) -> Any:
    """The module `timm.<submodule>`: late, because it takes seconds to import; untyped, as its annotations are few."""
    return importlib.import_module(f"timm.{submodule}")


def _resnet() -> Any:
    resnet = _timm("models.resnet")
    model = resnet.ResNet(
        resnet.BasicBlock, (1, 1, 1, 1), num_classes=10, channels=(16, 32, 64, 128), stem_type="deep", stem_width=8
    )
    # timm's stem divides the resolution by four, which leaves nothing of a 28-pixel garment.
    model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()
    return model


def _mobilenet() -> Any:
    blocks = [["ds_r1_k3_s1_c16"], ["ir_r2_k3_s1_e4_c24"], ["ir_r2_k3_s2_e4_c40"], ["ir_r2_k3_s2_e4_c64"]]
    arguments = _timm("models._efficientnet_builder").decode_arch_def(blocks)
    efficientnet = _timm("models.efficientnet").EfficientNet
    return efficientnet(arguments, num_classes=10, num_features=256, stem_size=16, act_layer=nn.ReLU6)


def _vit() -> Any:
    transformer = _timm("models.vision_transformer").VisionTransformer
    model = transformer(img_size=32, patch_size=4, embed_dim=64, depth=3, num_heads=4, mlp_ratio=2, num_classes=10)
    # Two strided convolutions in place of one 4x4 patch projection: the grid of patches stays 8x8, and the network
    # needs a fraction of the epochs. No BatchNorm among them, as in any other VisionTransformer.
    model.patch_embed.proj = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1)
    )
    return model


_BUILDERS: dict[str, Callable[[], Any]] = {
    "fashion_resnet": _resnet,
    "fashion_vit": _vit,
    "fashion_mobilenet": _mobilenet,
}

_SCENE_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "fashion_detector": lambda: Detector(len(CLASS_NAMES), SCENE_SIDE),
    "fashion_segmenter": lambda: Segmenter(1 + len(CLASS_NAMES)),
}

_ENTRANCE_AND_HEAD = {
    "fashion_resnet": ("conv1.0", "fc"),
    "fashion_vit": ("patch_embed.proj.0", "head"),
    "fashion_mobilenet": ("conv_stem", "classifier"),
}


def _pretrained_cfg(name: str) -> dict[str, Any]:
    first_conv, classifier = _ENTRANCE_AND_HEAD[name]
    return {
        "architecture": name,
        "input_size": (3, 32, 32),
        "fixed_input_size": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "num_classes": len(CLASS_NAMES),
        "label_names": CLASS_NAMES,
        "first_conv": first_conv,
        "classifier": classifier,
        "license": "mit",
    }
