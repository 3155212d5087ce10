"""A style token's file, before anything is loaded. Free of torch."""

from pathlib import Path

from calibrate.pickles import is_pickle, pickle_refusal


def style_file_problem(path: Path) -> str | None:
    """Say why a file cannot be a style token, by its name; None where it can."""
    if not path.is_file():
        return f"style token {path} does not exist (calibrate.style takes a .safetensors file)"
    if is_pickle(path):
        return pickle_refusal("style token", path, "calibrate.style")
    return None
