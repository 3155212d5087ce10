"""A single-file checkpoint: the names and shapes of its weights tell what it is of. Nothing but its header is read."""

import json
from pathlib import Path
from typing import Any

from genq_export.core.errors import UserError

Shapes = dict[str, list[int]]
_LONGEST_HEADER = 100 << 20  # bytes, as safetensors itself allows
_INPUT = "model.diffusion_model.input_blocks.0.0.weight"
_LATENTS = 4  # channels of what text alone is denoised to
_MORE_CHANNELS = {9: "inpainting", 8: "editing images", 7: "upscaling", 5: "following a depth image"}
# A weight that networks of one kind alone have, the size of its last axis where others have it, too, and the repository
# that says what such a checkpoint consists of: those that diffusers goes by.
_KINDS = (
    ("conditioner.embedders.1.model.positional_embedding", None, "stabilityai/stable-diffusion-xl-base-1.0"),
    ("model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight", 1024,
     "stabilityai/stable-diffusion-2-1"),
    ("model.diffusion_model.output_blocks.11.0.skip_connection.weight", None,
     "stable-diffusion-v1-5/stable-diffusion-v1-5"),
)  # fmt: skip


def repository_of_configs(path: Path) -> str:
    """Return the hub repository whose configs fit a checkpoint.

    Raises:
        UserError: for a file that is no checkpoint of a text-to-image pipeline, or of none that is known.
    """
    shapes = checkpoint_shapes(path)
    found = next(
        (name for key, width, name in _KINDS if key in shapes and width in (None, shapes[key][-1])),
        None,
    )
    if found is None:
        raise UserError(
            f"generator {path} is not known as a checkpoint of Stable Diffusion 1, 2 or XL: give the folder of a"
            " pipeline of its kind, whose .json and .txt files suffice, with --generator-config DIR"
        )
    return found


def checkpoint_shapes(path: Path) -> Shapes:
    """Return the shape of each weight of a text-to-image checkpoint by name.

    Raises:
        UserError: where the file cannot be read, is a LoRA, or is of a network that is given images, too.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(length)) if length <= _LONGEST_HEADER else None
        shapes = {str(name): list(facts["shape"]) for name, facts in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"generator {path} is not a safetensors file, or not whole") from None
    if any("lora" in name for name in shapes):
        raise UserError(f"generator {path} is a LoRA: give the pipeline it was made for, and this file with --lora")
    channels = shapes.get(_INPUT, [0, _LATENTS])[1]
    if channels != _LATENTS:
        task = _MORE_CHANNELS.get(channels, f"{channels} channels")
        raise UserError(f"generator {path} makes no images of text: it is a checkpoint for {task}")
    return shapes
