"""Images in: folders, shards and data sets become batches in the network's own preprocessing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genq_export.data.classifier import Classes, Classifier
from genq_export.data.decode import read_image
from genq_export.data.folder import labelled_folder


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

    def batches(self, network: Classifier, batch_size: int) -> Iterator[torch.Tensor]:
        """Yield float32 [B, C, H, W], in order. Raises UserError for an image that cannot be read."""
        for start in range(0, len(self.images), batch_size):
            chosen = self.images[start : start + batch_size]
            if isinstance(chosen, np.ndarray):
                yield network.normalize(torch.from_numpy(chosen))
            else:
                yield load_images(chosen, network)


def read_evaluation_set(source: Path, network: Classes) -> EvaluationSet:
    """Read images, and labels where there are any.

    Args:
        source: a labelled folder (a subfolder a class), a flat folder (no labels), WebDataset shards (a .tar file or a
            folder of them), or a Hugging Face data set (saved to disk, Parquet, or an image folder with splits or
            metadata).
        network: its classes are what the labels mean.

    Raises:
        UserError: where it cannot be read or its labels are not classes of the network.
    """
    from genq_export.data import hf_dataset, webdataset

    if webdataset.is_sharded(source):
        return EvaluationSet(str(source), *webdataset.read_shards(source, network))
    if hf_dataset.is_dataset(source):
        return EvaluationSet(str(source), *hf_dataset.read_dataset(source, network))
    return EvaluationSet(str(source), *labelled_folder(source, network))


def load_images(images: Sequence[Path] | Sequence[Image.Image], network: Classifier) -> torch.Tensor:
    """Files or RGB pictures -> float32 [B, C, H, W] through the network's own transform."""
    transform = network.transform()
    return torch.stack([transform(read_image(image) if isinstance(image, Path) else image) for image in images])
