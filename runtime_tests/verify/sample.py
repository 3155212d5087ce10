"""The images that codes are compared on and signal to noise is measured on."""

import numpy as np

from genq_export.data.evaluation import EvaluationSet
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.base import Batch

# Every code of a batch is held at once: large inputs go in small batches.
_ELEMENTS = 1_000_000
_RANDOM_IMAGES = 32
_QUALITY_SHARE = 4


def sample_images(images: EvaluationSet | None, model: LoadedModel, count: int, batch_size: int) -> list[Batch]:
    """At most `count` images evenly spread over the set, since folders are sorted by class; without a set, noise.

    Returns:
        Batches in the network's own preprocessing, float32 [B, C, H, W], B at most `batch_size`.
    """
    if images is None:
        rng = np.random.default_rng(0)
        return [rng.standard_normal((min(count, _RANDOM_IMAGES), *model.input_size), dtype=np.float32)]
    chosen = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(np.int64))
    content = images.images
    picked = content[chosen] if isinstance(content, np.ndarray) else [content[index] for index in chosen]
    batch_size = int(np.clip(_ELEMENTS // np.prod(model.input_size), 1, batch_size))
    return [batch.numpy() for batch in EvaluationSet(images.name, picked, None).batches(model, batch_size)]


def quality_sample(sample: list[Batch]) -> list[Batch]:
    """Fewer of them: a ratio of sums over whole tensors needs fewer images than a search for single codes."""
    return [batch[::_QUALITY_SHARE] for batch in sample]
