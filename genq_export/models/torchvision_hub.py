"""Networks of torchvision, `torchvision:resnet50`, with its own weights or a checkpoint of the user's.

Classifiers, networks of semantic segmentation, and detectors of one stage. Those of two stages choose some of their
boxes in the middle, which no file of fixed shape can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError, reason_of
from genq_export.models.door import Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.sizes import Sizes

if TYPE_CHECKING:
    from torch import nn

PREFIX = "torchvision:"
_CHANNELS = 3
_ONE_STAGE = ("ssd", "retinanet", "fcos")
_AUXILIARY = "aux_classifier."
_BACKGROUND = "__background__"


class TorchvisionDoor(Door):
    """Image networks by their torchvision name; `torchvision:resnet50.IMAGENET1K_V1` names older weights."""

    def matches(self, config: ModelConfig) -> bool:
        """By its prefix."""
        return config.name.startswith(PREFIX)

    def identity(self, config: ModelConfig) -> str:
        """The version of torchvision, which decides architecture and weights of a name."""
        return f"torchvision {version('torchvision')} {config.name}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Create it; its weights are fetched where torch's hub cache has none."""
        from torchvision import models

        weights = _weights(config)
        module = models.get_model(_name(config), **_constructed(config))
        if pretrained:
            try:
                found = weights.get_state_dict(weights_only=True, check_hash=True, progress=False)
                module.load_state_dict(_without_auxiliary(config, found))
            except Exception as error:  # a download may fail in any way
                reason = reason_of(error)
                raise UserError(f"cannot load weights of {config.name}: {reason}; give a file with --weights") from None
        return _described(config.name, module, weights)

    def resized(self, config: ModelConfig, sizes: Sizes) -> LoadedModel | None:
        """With another head; its first convolutions take three channels."""
        from torchvision import models

        if sizes.channels != _CHANNELS:
            return None
        module = models.get_model(_name(config), num_classes=sizes.classes, **_constructed(config))
        return replace(_described(config.name, module, _weights(config)), classes=sizes.classes, class_names=None)

    def task(self, config: ModelConfig) -> str | None:
        """By the module of torchvision that makes it."""
        return "classification" if _group(config) == "models" else _group(config)

    def answering(self, config: ModelConfig, model: LoadedModel) -> LoadedModel:
        """A detector gives boxes and scores of images of its input size."""
        if _group(config) != "detection":
            return model
        from genq_export.models.torchvision_detection import BoxesAndScores

        return replace(model, module=BoxesAndScores(model.module, model.input_size).eval())

    def knows(self, config: ModelConfig) -> bool:
        """Has torchvision an image network of this name, and weights of that name?"""
        return _name(config) in _networks() and (not _tag(config) or _weights(config) is not None)

    def names(self) -> Sequence[str]:
        """Every image network of torchvision."""
        return [f"{PREFIX}{name}" for name in _networks()]

    def problems(self, config: ModelConfig) -> list[str]:
        """Weights that are not in torch's hub cache and cannot be fetched."""
        weights = _weights(config)
        if weights is None:
            return [f"torchvision has no weights for {config.name}: give a checkpoint with --weights FILE"]
        if _cached(weights.url).is_file() or _reachable(weights.url):
            return []
        return [
            f"weights of {config.name} ({weights.url}) are not at {_cached(weights.url)} and cannot be fetched: put"
            " that file there, or give a checkpoint with --weights FILE"
        ]

    def has_class_names(self, config: ModelConfig) -> bool:
        """ImageNet's names come with torchvision's weights."""
        return self.knows(config) and _weights(config) is not None

    def offers(self, search: str) -> list[Offer]:
        """Those whose name fits; none of eighty where nothing is searched for."""
        weights = "download.pytorch.org, or --weights FILE"
        generator = "Stable Diffusion v1-5, or --generator DIR, leaves"
        names = [name for name in self.names() if search in name] if search else [f"{PREFIX}NAME"]
        return [Offer(name, weights, generator) for name in names]

    def findings(self) -> list[Finding]:
        """How many weights are in torch's cache."""
        import torch

        cache = Path(torch.hub.get_dir()) / "checkpoints"
        found = f"{len([*cache.glob('*.pth')])} files of weights in {cache}"
        return [Finding("networks of torchvision", "works", f"torchvision {version('torchvision')}, {found}")]


TORCHVISION = TorchvisionDoor()


@cache
def _groups() -> dict[str, list[str]]:
    """Names of networks by the module that makes them; those of video and torch's own quantization are not taken."""
    from torchvision import models

    modules = {"models": models, "segmentation": models.segmentation, "detection": models.detection}
    found = {group: models.list_models(module=module) for group, module in modules.items()}
    return found | {"detection": [name for name in found["detection"] if name.startswith(_ONE_STAGE)]}


def _networks() -> list[str]:
    return [name for names in _groups().values() for name in names]


def _group(config: ModelConfig) -> str:
    return next((group for group, names in _groups().items() if _name(config) in names), "models")


def _without_auxiliary(config: ModelConfig, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """The head that helps in training is none of the network's."""
    if _group(config) != "segmentation":
        return tensors
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_AUXILIARY)}


def _name(config: ModelConfig) -> str:
    return config.name.removeprefix(PREFIX).partition(".")[0]


def _tag(config: ModelConfig) -> str:
    return config.name.partition(".")[2]


def _weights(config: ModelConfig) -> Any:
    """The weights that a name stands for; None where there are none."""
    from torchvision import models

    found = models.get_model_weights(_name(config))
    tag = _tag(config) or "DEFAULT"
    return found[tag] if tag in found.__members__ else None


def _constructed(config: ModelConfig) -> dict[str, Any]:
    """What torchvision's own builders tell a constructor where there are weights to come."""
    name = _name(config)
    if _group(config) != "models":
        own = {"num_classes": len(weights.meta["categories"])} if (weights := _weights(config)) else {}
        return {"weights": None, "weights_backbone": None, **own}
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "aux_logits": True, "init_weights": False}
    if name.startswith("vit_") and config.input_size is not None:
        return {"image_size": config.input_size[1]}
    return {}


def _described(name: str, module: "nn.Module", weights: Any) -> LoadedModel:
    """Preprocessing and class names as `Weights.transforms()` and `Weights.meta` have them."""
    preset = weights.transforms()
    if not hasattr(preset, "crop_size"):
        return _without_crop(name, module, weights, preset)
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    names = tuple(weights.meta["categories"])
    return LoadedModel(
        name=name,
        module=module,
        input_size=(_CHANNELS, crop, crop),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        crop_pct=crop / resize,
        interpolation=preset.interpolation.value,
        class_names=names,
        classes=len(names),
        resize=resize,
    )


def _without_crop(name: str, module: "nn.Module", weights: Any, preset: Any) -> LoadedModel:
    """Of segmentation and detection: the whole image in the network's size; detectors normalise by themselves."""
    transform = getattr(module, "transform", None)
    own = preset if transform is None else transform
    side = preset.resize_size[0] if transform is None else (transform.fixed_size or transform.min_size)[0]
    names = tuple(weights.meta["categories"])
    foreground = names[1:] if transform is not None and names[0] == _BACKGROUND and _is_ssd(name) else names
    return LoadedModel(
        name=name,
        module=module,
        input_size=(_CHANNELS, side, side),
        mean=tuple(getattr(own, "mean", None) or own.image_mean),
        std=tuple(getattr(own, "std", None) or own.image_std),
        crop_pct=1.0,
        interpolation="bilinear",
        class_names=foreground,
        classes=len(foreground),
    )


def _is_ssd(name: str) -> bool:
    return name.removeprefix(PREFIX).startswith("ssd")


def _cached(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _reachable(url: str) -> bool:
    import socket
    from urllib.parse import urlparse

    try:
        with socket.create_connection((urlparse(url).hostname, 443), timeout=3):
            return True
    except OSError:
        return False
