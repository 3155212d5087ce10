"""Weights from files, read without executing anything in them."""

from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.core.errors import UserError, reason_of

if TYPE_CHECKING:
    import torch
    from torch import nn


def load_weights(module: "nn.Module", path: Path) -> None:
    """Put the tensors of a file into a network, in place.

    Raises:
        UserError: where the file cannot be read, or a tensor is missing, unknown or of another shape.
    """
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
