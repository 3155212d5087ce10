"""Patch-similarity entropy: how much an image gives the attention of a vision transformer to tell apart.

Metric of PSAQ-ViT (Li et al., ECCV 2022), used by GenQ as its distribution filter for transformers: in every block
take `attention @ V` averaged over heads, drop the class token, take the cosine similarity of all pairs of patches,
estimate its density with a Gaussian kernel of bandwidth 0.01 at ten points from the smallest to the largest similarity,
add 1e-4, integrate `-p log p` by trapezoids; sum over blocks. Noise makes all patches alike and scores low; keep the
high end.

Ours: the ten points span each image's own similarities, not the batch's, so a score does not depend on the neighbours
in the batch; in windowed attention (Swin) pairs within a window count, all windows of an image making one density.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from calibrate.filters.attention import attention_layers
from calibrate.filters.filter import Filter
from genq_export.config.calibrate import CalibrateConfig
from genq_export.models.loaded import LoadedModel

BANDWIDTH, POINTS, FLOOR = 0.01, 10, 1e-4


class PatchEntropyFilter(Filter):
    """Keep the images that give attention the most to tell apart."""

    name = "patch_entropy"
    role = "distribution"
    low_is_good = False

    def applies_to(self, model: LoadedModel) -> bool:
        """Networks with self-attention over patches."""
        return bool(attention_layers(model.module))

    def recording(self, module: nn.Module, images: int) -> AbstractContextManager[list[torch.Tensor]]:
        """The entropy of every block."""
        return recording(module, images)

    def scores(
        self, records: Sequence[Sequence[torch.Tensor]], logits: Sequence[torch.Tensor], settings: CalibrateConfig
    ) -> list[float]:
        """The sum over blocks for each image."""
        return [value for blocks in records for value in torch.stack(list(blocks)).sum(0).tolist()]

    def kept_share(self, settings: CalibrateConfig) -> float:
        """`distribution_keep`"""
        return settings.distribution_keep


PATCH_ENTROPY = PatchEntropyFilter()


@contextmanager
def recording(module: nn.Module, images: int) -> Iterator[list[torch.Tensor]]:
    """While active, a forward pass of `images` images appends each block's entropy to the list given, float64 [images].

    Attention that is one operator needs no switching off.
    """
    seen: list[torch.Tensor] = []
    prefix = int(getattr(module, "num_prefix_tokens", 0))

    def add(tokens: torch.Tensor, heads: int) -> None:
        seen.append(patch_entropy(patches_of(tokens, images, heads, prefix)))

    handles = [layer.watched(add) for layer in attention_layers(module)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def patches_of(x: torch.Tensor, images: int, heads: int, prefix: int) -> torch.Tensor:
    """`attention @ V` float [images * windows, ..., heads * d] -> [images, windows, patches, d], averaged over heads.

    prefix: class and register tokens in front, which only global attention has.
    """
    x = x.flatten(1, -2)
    windows = x.shape[0] // images
    if windows == 1:
        x = x[:, prefix:]
    # The heads one after another: a reduction over a middle dimension takes ten times as long on CPUs.
    mean = sum(x.chunk(heads, -1)[1:], x[..., : x.shape[-1] // heads]) / heads
    return mean.reshape(images, windows, *mean.shape[1:])


def patch_entropy(patches: torch.Tensor) -> torch.Tensor:
    """Differential entropy of the similarities of all pairs, float [images, windows, P, d] -> float64 [images]."""
    similar, weights = similarities(nn.functional.normalize(patches.float(), dim=-1))
    low, high = similar.amin(1), similar.amax(1)
    points = low + (high - low) * torch.linspace(0, 1, POINTS, device=low.device)[:, None]
    # Fresh memory is slow. Gradients need what scratch memory would overwrite.
    scratch = None if torch.is_grad_enabled() and similar.requires_grad else torch.empty_like(similar)
    density = torch.stack([_kernel(similar, point, scratch) @ weights for point in points], 1)
    density = density.double() / (BANDWIDTH * (2 * torch.pi) ** 0.5 * weights.sum()) + FLOOR
    return torch.trapezoid(-density * density.log(), points.double().T, dim=1)


def similarities(unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products of all pairs within a window, each pair once, and how often it counts.

    unit: float [images, windows, P, d] -> float [images, n] and [n], n = windows * P * (P // 2 + 1). A pair is a patch
    and the one `k` places behind it, counted around the end, k up to P / 2: a view of the products of the patches with
    themselves twice over, and so half of the symmetric matrix without picking its elements one by one.
    """
    count, half = unit.shape[2], unit.shape[2] // 2
    around = torch.cat([unit, unit[:, :, :half]], 2)
    products = unit @ around.transpose(-1, -2)
    *outer, row, _ = products.stride()
    pairs = products.as_strided((*products.shape[:3], half + 1), (*outer, row + 1, 1))
    weights = torch.full((half + 1,), 2.0, device=unit.device)
    weights[0] = 1  # a patch with itself
    if count % 2 == 0:
        weights[half] = 1  # half-way round, both partners have the pair
    return pairs.flatten(1), weights.repeat(unit.shape[1] * count)


def _kernel(values: torch.Tensor, point: torch.Tensor, scratch: torch.Tensor | None) -> torch.Tensor:
    """`exp(-(values - point)^2 / (2 * bandwidth^2))`, [images, n] around `point` [images], in `scratch` if given."""
    # In powers of two, which CPUs take in half the time. Most pairs are far from the point; below -115 the power is
    # denormal, which takes ten times as long.
    factor, smallest = -0.5 / BANDWIDTH**2 / math.log(2), -115
    difference = torch.sub(values, point[:, None], out=scratch)
    if scratch is None:
        return (difference.square() * factor).clamp_min(smallest).exp2()
    torch.addcmul(values.new_zeros(()), difference, difference, value=factor, out=difference)
    return difference.clamp_min_(smallest).exp2_()
