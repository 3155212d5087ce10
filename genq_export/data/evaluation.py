"""Images become batches in the network's own preprocessing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genq_export.data.account import Account
from genq_export.data.classifier import Classes, Classifier
from genq_export.data.decode import read_image
from genq_export.data.raw import Reading
from genq_export.data.reader import read_images
from genq_export.data.truth import Truth


@dataclass(frozen=True)
class EvaluationSet:
    """Images to judge by. `images` are files, pictures, or uint8 pixels [N, H, W, C] already at the network's size.

    labels: int64 [N], or None where the images have none. account: what the reader made of their source; None where
    they come with the network. truths: boxes or a mask of each, in the network's input; None where they have none.
    """

    name: str
    images: Sequence[Path] | Sequence[Image.Image] | np.ndarray
    labels: np.ndarray | None
    account: Account | None = None
    truths: Sequence[Truth] | None = None

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


def read_evaluation_set(source: Path, network: Classes | None, reading: Reading | None = None) -> EvaluationSet:
    """Read images, and labels where there are any.

    Images are as the network's own preprocessing reads them (timm's): the orientation that a camera notes is not
    applied.

    Args:
        source: as `genq_export.data.reader.read_images` takes it.
        network: its classes are what the labels mean; None: labels are not looked at.
        reading: what the user says of it.

    Raises:
        UserError: where it cannot be read or its labels are not classes of the network.
    """
    found = read_images(source, network, reading or Reading())
    return EvaluationSet(str(source), found.images, found.labels, found.account)


def load_images(images: Sequence[Path] | Sequence[Image.Image], network: Classifier) -> torch.Tensor:
    """Files or RGB pictures -> float32 [B, C, H, W] through the network's own transform."""
    transform = network.transform()
    return torch.stack([transform(read_image(image) if isinstance(image, Path) else image) for image in images])
