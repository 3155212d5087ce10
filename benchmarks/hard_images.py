"""Images that a network is as unsure of as of real ones, among many that it is mostly sure of."""

from collections.abc import Sequence
from pathlib import Path

import torch

from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel

UNSURE_OF_REAL = 0.22  # of Fashion-MNIST's training images the zoo's networks give so many less than 0.9 (--variety)


@torch.inference_mode()
def as_unsure_as_real(paths: Sequence[Path], model: LoadedModel, count: int) -> list[Path]:
    """Choose `count` of `paths`: the least sure ones for a share of `UNSURE_OF_REAL`, the others evenly from the rest.

    Sure: by the top probability of the float network.
    """
    images = load_images(list(paths), model)
    sure = torch.cat([model.module(batch).softmax(1).amax(1) for batch in images.split(256)])
    order = sure.argsort().tolist()
    hard = round(UNSURE_OF_REAL * count)
    rest = order[hard:]
    evenly = [rest[place * len(rest) // (count - hard)] for place in range(count - hard)]
    return [paths[place] for place in sorted(order[:hard] + evenly)]
