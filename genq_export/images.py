"""Images in: folders and the zoo's test set become float batches in the network's own preprocessing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from genq_export import zoo
from genq_export.errors import UserError
from genq_export.models import LoadedModel

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class EvaluationSet:
    """Images to judge by. `images` are files, or uint8 pixels [N, H, W, C] already at the network's size.

    labels: int64 [N], or None where the images have none.
    """

    name: str
    images: Sequence[Path] | np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, model: LoadedModel, batch_size: int) -> Iterator[torch.Tensor]:
        """Yield float32 [B, C, H, W], in order."""
        for start in range(0, len(self.images), batch_size):
            chosen = self.images[start : start + batch_size]
            if isinstance(chosen, np.ndarray):
                yield model.normalize(torch.from_numpy(chosen))
            else:
                yield load_images(chosen, model)


def evaluation_set(model: LoadedModel, folder: Path | None) -> EvaluationSet | None:
    """The labelled folder given, else the zoo's test set for a network of the zoo, else None."""
    if folder is not None:
        return _folder_set(model, folder)
    if model.name in zoo.ZOO_MODELS:
        pixels, labels = zoo.test_set()
        return EvaluationSet("Fashion-MNIST test set", pixels, labels)
    return None


def load_images(paths: Sequence[Path], model: LoadedModel) -> torch.Tensor:
    """Files -> float32 [B, C, H, W] through the network's own transform."""
    transform = model.transform()
    return torch.stack([transform(read_image(path)) for path in paths])


def read_image(path: Path) -> Image.Image:
    """Decode one file to RGB: the first frame of an animation, 16-bit scaled to 8. Raises UserError if it cannot."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                return Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert(
                    "RGB"
                )
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read image {path}: {error}") from None


def list_images(folder: Path) -> list[Path]:
    """Image files below `folder`, sorted. Raises UserError for a folder that does not exist or holds none."""
    if not folder.is_dir():
        raise UserError(f"image folder {folder} does not exist")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"no images in {folder} (looked for {', '.join(IMAGE_SUFFIXES)} in it and below)")
    return files


def _folder_set(model: LoadedModel, folder: Path) -> EvaluationSet:
    """A folder with one subfolder a class: named as the class, or sorted like the classes where all are there."""
    files = list_images(folder)
    unreadable = [path for path in files if not _decodes(path)]
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(files)} images in {folder} cannot be read, the first is {unreadable[0]}:"
            " remove or replace them"
        )
    parents = sorted({path.relative_to(folder).parts[0] for path in files if len(path.relative_to(folder).parts) > 1})
    if not parents:
        return EvaluationSet(str(folder), files, None)
    index = _class_index(model, parents, folder)
    labels = [index[path.relative_to(folder).parts[0]] for path in files]
    return EvaluationSet(str(folder), files, np.array(labels, dtype=np.int64))


def _class_index(model: LoadedModel, parents: list[str], folder: Path) -> dict[str, int]:
    names = {name: number for number, name in enumerate(model.class_names or ())}
    if all(parent in names for parent in parents):
        return {parent: names[parent] for parent in parents}
    if all(parent.isdigit() and int(parent) < model.classes for parent in parents):
        return {parent: int(parent) for parent in parents}
    if len(parents) == model.classes:
        return {parent: number for number, parent in enumerate(parents)}
    raise UserError(
        f"{folder} has {len(parents)} class folders, the network {model.name} has {model.classes} classes:"
        " name the folders as the classes or by class number"
    )


def _decodes(path: Path) -> bool:
    try:
        read_image(path)
    except UserError:
        return False
    return True
