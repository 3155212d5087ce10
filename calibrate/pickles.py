"""Weights as pickles are not opened; what a user who trusts one can do."""

from pathlib import Path

PICKLES = (".ckpt", ".bin", ".pt", ".pth")


def is_pickle(path: Path) -> bool:
    """Has a file the suffix of weights that `torch.save` wrote?"""
    return path.suffix.lower() in PICKLES


def pickle_refusal(what: str, path: Path, option: str) -> str:
    """The line that refuses it, with a command that makes a safetensors file of it and runs nothing of what is in it.

    Args:
        what: it is given as, `LoRA`.
        path: of the file.
        option: that takes the new file.
    """
    command = (
        f"import torch; from safetensors.torch import save_file; d = torch.load({str(path)!r}, weights_only=True);"
        " d = d.get('state_dict', d.get('string_to_param', d)); save_file({name: part.detach().contiguous().clone()"
        " for name, part in d.items() if hasattr(part, 'detach')}, 'NEW.safetensors')"
    )
    return (
        f'{what} {path} is a pickle, which is not opened: convert it with `python -c "{command}"` and give'
        f" {option} NEW.safetensors"
    )
