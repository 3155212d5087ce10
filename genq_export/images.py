"""Images in: folders, shards, data sets and the zoo's test set become batches in the network's own preprocessing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from genq_export import zoo
from genq_export.errors import UserError
from genq_export.models import LoadedModel

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class EvaluationSet:
    """Images to judge by. `images` are files, pictures, or uint8 pixels [N, H, W, C] already at the network's size.

    labels: int64 [N], or None where the images have none.
    """

    name: str
    images: Sequence[Path] | Sequence[Image.Image] | np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, model: LoadedModel, batch_size: int) -> Iterator[torch.Tensor]:
        """Yield float32 [B, C, H, W], in order. Raises UserError for an image that cannot be read."""
        for start in range(0, len(self.images), batch_size):
            chosen = self.images[start : start + batch_size]
            if isinstance(chosen, np.ndarray):
                yield model.normalize(torch.from_numpy(chosen))
            else:
                yield load_images(chosen, model)


def evaluation_set(model: LoadedModel, source: Path | None) -> EvaluationSet | None:
    """The images given, else the zoo's test set for a network of the zoo, else None.

    source: a labelled folder (a subfolder a class), a flat folder (no labels), WebDataset shards (a .tar file or a
    folder of them), or a Hugging Face data set (saved to disk, Parquet, or an image folder with splits or metadata).
    Raises UserError where it cannot be read or its labels are not classes of the network.
    """
    if source is not None:
        images, labels = _images_and_labels(source, model)
        return EvaluationSet(str(source), images, labels)
    if model.name in zoo.ZOO_MODELS:
        pixels, truth = zoo.test_set()
        return EvaluationSet("Fashion-MNIST test set", pixels, truth)
    return None


def load_images(images: Sequence[Path] | Sequence[Image.Image], model: LoadedModel) -> torch.Tensor:
    """Files or RGB pictures -> float32 [B, C, H, W] through the network's own transform."""
    transform = model.transform()
    return torch.stack([transform(read_image(image) if isinstance(image, Path) else image) for image in images])


def read_image(path: Path) -> Image.Image:
    """Decode one file to RGB: the first frame of an animation, 16-bit scaled to 8. Raises UserError if it cannot."""
    return decode_image(path, str(path))


def decode_image(source: Path | IO[bytes], name: str) -> Image.Image:
    """As `read_image`, from a file or from bytes; `name` is what an error calls it."""
    try:
        with Image.open(source) as image:
            image.load()
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                return Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert(
                    "RGB"
                )
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read image {name}: {error}") from None


def list_images(folder: Path) -> list[Path]:
    """Image files below `folder`, sorted. Raises UserError for a folder that does not exist or holds none."""
    if not folder.is_dir():
        raise UserError(f"image folder {folder} does not exist")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"no images in {folder} (looked for {', '.join(IMAGE_SUFFIXES)} in it and below)")
    return files


def class_numbers(names: Sequence[str], model: LoadedModel, source: Path) -> dict[str, int]:
    """Class of the network by name or number, or by order where as many names are given as the network has classes.

    names: without repetition, in the order of their own numbers. Raises UserError where none of the three holds.
    """
    known = {name: number for number, name in enumerate(model.class_names or ())}
    if all(name in known for name in names):
        return {name: known[name] for name in names}
    if all(name.isdigit() and int(name) < model.classes for name in names):
        return {name: int(name) for name in names}
    if len(names) == model.classes:
        return {name: number for number, name in enumerate(names)}
    raise UserError(
        f"{source} has {len(names)} class folders or class names, the network {model.name} has {model.classes} classes:"
        " name them as the classes or by class number"
    )


def check_labels(labels: Sequence[int | None], model: LoadedModel, source: Path) -> np.ndarray | None:
    """Labels as int64 [N]; None where no image has one. Raises UserError for a gap or for a class there is not."""
    missing = sum(label is None for label in labels)
    if missing == len(labels):
        return None
    if missing:
        raise UserError(f"{missing} of {len(labels)} images in {source} have no label: label all of them, or none")
    found = np.array(labels, dtype=np.int64)
    if found.min() < 0 or found.max() >= model.classes:
        raise UserError(
            f"labels in {source} go from {found.min()} to {found.max()}, the network {model.name} has {model.classes}"
            f" classes: 0 to {model.classes - 1}"
        )
    return found


def _images_and_labels(
    source: Path, model: LoadedModel
) -> tuple[Sequence[Path] | Sequence[Image.Image], np.ndarray | None]:
    from genq_export import image_datasets, image_shards

    if image_shards.is_sharded(source):
        return image_shards.read_shards(source, model)
    if image_datasets.is_dataset(source):
        return image_datasets.read_dataset(source, model)
    return _folder(source, model)


def _folder(folder: Path, model: LoadedModel) -> tuple[list[Path], np.ndarray | None]:
    """One subfolder a class: named as the class, by number, or sorted like the classes where all are there."""
    files = list_images(folder)
    unreadable = [path for path in files if not _decodes(path)]
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(files)} images in {folder} cannot be read, the first is {unreadable[0]}:"
            " remove or replace them"
        )
    below = [path.relative_to(folder).parts for path in files]
    names = sorted({parts[0] for parts in below if len(parts) > 1})
    numbers = class_numbers(names, model, folder) if names else {}
    return files, check_labels([numbers[parts[0]] if len(parts) > 1 else None for parts in below], model, folder)


def _decodes(path: Path) -> bool:
    try:
        read_image(path)
    except UserError:
        return False
    return True
