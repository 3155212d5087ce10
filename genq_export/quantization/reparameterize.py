"""Branches that timm trains apart and adds are one convolution when a network is used: they are quantized as that one.

A RepVGG block is three branches in training and one convolution in use (Ding et al. 2021, "RepVGG: Making VGG-style
ConvNets Great Again", section 3.3). timm's modules know how to become what they are in use.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

_TO_INFERENCE = ("fuse", "reparameterize", "switch_to_deploy")  # in timm's own order
_TOLERANCE = 1e-3  # of the largest output


def reparameterized(module: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
    """The network with every module of timm's as it is in use.

    The network itself where there is none to change, or where the result does not compute what the network computes:
    its branches can be quantized one by one.

    Args:
        module: float32, eval mode; it stays as it is, with its BatchNorm statistics.
        input_size: (channels, height, width), for the check.
    """
    if not any(_method_of(part) for part in module.modules() if part is not module):
        return module
    changed = deepcopy(module)
    with torch.no_grad():
        _change_children(changed)
    changed.eval().requires_grad_(False)
    return changed if _compute_the_same(module, changed, input_size) else module


def _change_children(module: nn.Module) -> None:
    """As `timm.utils.reparameterize_model` does, but for timm's own modules: others may mean anything by `fuse`."""
    for name, child in list(module.named_children()):
        method = _method_of(child)
        result = getattr(child, method)() if method else child
        if method == "fuse":
            setattr(module, name, result)
            child = result
        _change_children(child)


def _method_of(module: nn.Module) -> str | None:
    """The method by which a module changes to what it is in use, if timm wrote it."""
    for name in _TO_INFERENCE:
        method = getattr(type(module), name, None)
        if method is not None:
            return name if method.__module__.split(".")[0] == "timm" else None
    return None


def _compute_the_same(module: nn.Module, changed: nn.Module, input_size: tuple[int, int, int]) -> bool:
    """Do both give the same on noise, but for rounding in another order?"""
    noise = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (list(_tensors(part(noise))) for part in (module, changed))
    return len(expected) == len(found) and all(
        torch.allclose(a, b, rtol=0, atol=_TOLERANCE * float(a.abs().max()))
        for a, b in zip(expected, found, strict=True)
    )


def _tensors(answer: object) -> Iterator[Tensor]:
    """The tensors of an answer of any form, in order."""
    if isinstance(answer, Tensor):
        yield answer
    elif isinstance(answer, Mapping | Sequence) and not isinstance(answer, str):
        for part in answer.values() if isinstance(answer, Mapping) else answer:
            yield from _tensors(part)
