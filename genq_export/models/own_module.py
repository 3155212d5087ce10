"""A module of the user's own becomes a network: what it takes and gives, and what it does not say."""

from typing import TYPE_CHECKING

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.answers import classes_of
from genq_export.models.loaded import LoadedModel
from genq_export.models.timm_hub import described

if TYPE_CHECKING:
    from torch import nn


def described_module(config: ModelConfig, name: str, module: "nn.Module") -> LoadedModel:
    """Describe a module: float32, on the CPU, in eval mode. timm's own description counts where it carries one.

    Args:
        config: what the user says of the network.
        name: what messages call it.
        module: moved and switched in place, which `notes` of the result tell.

    Raises:
        UserError: where it has no input size, or does not run.
    """
    notes = _made_ready(name, module)
    if getattr(module, "pretrained_cfg", None):
        return _with_notes(described(name, module), notes)
    if config.input_size is None:
        raise UserError(
            f"{name} does not say what it takes: give --input-size CHANNELS,HEIGHT,WIDTH (from Python: input_size=)"
        )
    notes += not_told(config, name)
    channels = config.input_size[0]
    classes = classes_of(name, module, config.input_size)
    plain = LoadedModel(
        name, module, config.input_size, (0.0,) * channels, (1.0,) * channels, 1.0, "bilinear", None, classes
    )
    return _with_notes(plain, notes)


def not_told(config: ModelConfig, name: str) -> tuple[str, ...]:
    """What is taken of pixels where the user says nothing of them, to be told."""
    if config.mean is not None or config.std is not None:
        return ()
    return (f"{name}: neither --mean nor --std is given: it takes pixels in [0, 1] as they are",)


def _made_ready(name: str, module: "nn.Module") -> list[str]:
    import torch

    notes = list[str]()
    tensors = [*module.parameters(), *module.buffers()]
    devices = {str(tensor.device) for tensor in tensors} - {"cpu"}
    if "meta" in devices:
        raise UserError(f"{name} has parameters without values (device meta): load its weights in the function")
    if devices:
        notes.append(f"{name}: moved from {', '.join(sorted(devices))} to the CPU")
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.is_floating_point()} - {"float32"}
    if kinds:
        notes.append(f"{name}: {', '.join(sorted(kinds))} parameters become float32")
    if module.training:
        notes.append(f"{name}: was in train mode, is put in eval mode")
    module.to(device="cpu", dtype=torch.float32).eval()
    return notes


def _with_notes(model: LoadedModel, notes: list[str]) -> LoadedModel:
    from dataclasses import replace

    return replace(model, notes=tuple(notes))
