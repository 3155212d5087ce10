"""Networks of torchvision, `torchvision:resnet50`, with its own weights or a checkpoint of the user's."""

from collections.abc import Sequence
from dataclasses import replace
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
                module.load_state_dict(weights.get_state_dict(weights_only=True, check_hash=True, progress=False))
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


def _networks() -> list[str]:
    """Classification networks: those of detection, video and torch's own quantization live in modules below."""
    from torchvision import models

    found: list[str] = models.list_models(module=models)
    return found


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
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "aux_logits": True, "init_weights": False}
    if name.startswith("vit_") and config.input_size is not None:
        return {"image_size": config.input_size[1]}
    return {}


def _described(name: str, module: "nn.Module", weights: Any) -> LoadedModel:
    """Preprocessing and class names as `Weights.transforms()` and `Weights.meta` have them."""
    preset = weights.transforms()
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
