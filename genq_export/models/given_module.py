"""A module that a Python program gives: `genq_export.build(config, module=net)`."""

import hashlib
from typing import TYPE_CHECKING

from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.door import Door
from genq_export.models.loaded import LoadedModel

if TYPE_CHECKING:
    from torch import nn

PREFIX = "module:"


class GivenModuleDoor(Door):
    """`module:NAME` in the config of such a build: what NAME stands for was in the memory of a program."""

    def matches(self, config: ModelConfig) -> bool:
        """By its prefix."""
        return config.name.startswith(PREFIX)

    def identity(self, config: ModelConfig) -> str:
        """The digest of the module."""
        return f"{config.name} {config.digest}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Nowhere to load it from."""
        raise UserError(_given_from_python(config))

    def architecture_problems(self, config: ModelConfig) -> list[str]:
        """Always the same; not looked at where the module is there."""
        return [_given_from_python(config)]


GIVEN_MODULE = GivenModuleDoor()


def for_given_module(config: BuildConfig, module: "nn.Module") -> BuildConfig:
    """The config of a build of a module: under the door above, with the module's digest.

    Raises:
        UserError: where the config gives weights as well.
    """
    if config.model.weights is not None:
        raise UserError("the module given has its weights: load those of the config into it, and leave `weights` out")
    name = f"{PREFIX}{config.model.name.removeprefix(PREFIX)}"
    model = config.model.model_copy(update={"name": name, "digest": module_digest(module)})
    return config.model_copy(update={"model": model})


def module_digest(module: "nn.Module") -> str:
    """Digest of tensors, of the settings that modules print, and of the code of their `forward`."""
    import torch

    digest = hashlib.sha256()
    for path, part in module.named_modules():
        kind = type(part)
        code = getattr(kind.forward, "__code__", None)
        text = f"{path} {kind.__module__}.{kind.__qualname__} {part.extra_repr()}"
        digest.update(text.encode() + (b"" if code is None else code.co_code + repr(code.co_names).encode()))
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _given_from_python(config: ModelConfig) -> str:
    return (
        f"the network '{config.name}' was given by a Python program: repeat the build from there, with"
        " genq_export.build(config, module=net)"
    )
