"""The embedded default: tiny real networks, a tiny text-to-image pipeline, and real test images.

Everything here was trained on Fashion-MNIST by `python -m tools.train_zoo`; README.md beside this file says how.
Importing this module is cheap: torch, timm and diffusers are imported by the functions that need them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genq_export.zoo.names import CLASS_NAMES, SCENE_SIDE, STYLES, ZOO_MODELS, ZOO_PIPELINE, ZOO_SCENE_MODELS

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CLASS_NAMES",
    "SCENE_SIDE",
    "STYLES",
    "ZOO_MODELS",
    "ZOO_PIPELINE",
    "ZOO_SCENE_MODELS",
    "create_model",
    "create_scene_model",
    "create_style_classifier",
    "few_shot_set",
    "pipeline_folder",
    "test_set",
    "to_rgb32",
    "weights_file",
]

_FOLDER = Path(__file__).parent


def create_model(name: str) -> "nn.Module":
    """Return a trained classifier of `ZOO_MODELS`, in eval mode: float32 [N, 3, 32, 32] -> logits [N, 10].

    Its `pretrained_cfg` is what `timm.data.resolve_model_data_config` reads. Raises KeyError for another name.
    """
    from genq_export.zoo.architectures import build_classifier

    if name not in ZOO_MODELS:
        raise KeyError(f"unknown zoo network {name!r}; known: {', '.join(ZOO_MODELS)}")
    return _with_weights(build_classifier(name), name)


def create_scene_model(name: str) -> "nn.Module":
    """Return a trained network of `ZOO_SCENE_MODELS`, in eval mode: float32 [N, 3, 80, 80] in [-1, 1] -> its outputs.

    The detector gives boxes [N, 525, 4], corners in pixels, and scores [N, 525, 10]; the segmenter logits
    [N, 11, 80, 80], the background first. Raises KeyError for another name.
    """
    from genq_export.zoo.architectures import build_scene_network

    if name not in ZOO_SCENE_MODELS:
        raise KeyError(f"unknown zoo network {name!r}; known: {', '.join(ZOO_SCENE_MODELS)}")
    return _with_weights(build_scene_network(name), name)


def weights_file(name: str) -> Path:
    """Return the safetensors file that `create_model(name)` or `create_scene_model(name)` loads."""
    return _FOLDER / f"{name}.safetensors"


def create_style_classifier() -> "nn.Module":
    """Return the judge of rendering styles, in eval mode: float32 [N, 3, 32, 32] -> logits [N, 6] over `STYLES`."""
    from genq_export.zoo.architectures import build_style_classifier

    return _with_weights(build_style_classifier(len(STYLES)), "fashion_style")


def pipeline_folder() -> Path:
    """Return the folder for `diffusers.StableDiffusionPipeline.from_pretrained`: 32x32 images from 8x8 latents."""
    return _FOLDER / ZOO_PIPELINE


def test_set() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return Fashion-MNIST's 10,000 test images, uint8 [10000, 32, 32, 3], and their labels, int64 [10000]."""
    return _image_set("test_set.npz")


def few_shot_set() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return 16 training images of each class, uint8 [160, 32, 32, 3], and their labels, int64 [160]."""
    return _image_set("few_shot_set.npz")


def to_rgb32(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Zero-pad grey images [N, 28, 28] by 2 and repeat them over 3 channels: uint8 [N, 32, 32, 3]."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return np.repeat(padded[..., None], 3, axis=-1)


# pytest collects functions of this prefix from test modules that import them.
test_set.__test__ = False  # type: ignore[attr-defined]


def _image_set(file: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    with np.load(_FOLDER / file) as arrays:
        return to_rgb32(arrays["images"]), arrays["labels"].astype(np.int64)


def _with_weights(model: "nn.Module", name: str) -> "nn.Module":
    from safetensors.torch import load_file

    state = load_file(weights_file(name))
    own = model.state_dict()
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()})
    return model.eval()
