"""Images in: folders, shards, data sets and the zoo's test set become batches in the network's own preprocessing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genq_export import zoo
from genq_export.data.decode import read_image
from genq_export.data.folder import labelled_folder
from genq_export.models.loaded import LoadedModel


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


def _images_and_labels(
    source: Path, model: LoadedModel
) -> tuple[Sequence[Path] | Sequence[Image.Image], np.ndarray | None]:
    from genq_export.data import hf_dataset, webdataset

    if webdataset.is_sharded(source):
        return webdataset.read_shards(source, model)
    if hf_dataset.is_dataset(source):
        return hf_dataset.read_dataset(source, model)
    return labelled_folder(source, model)
