"""Patch-similarity entropy: how much an image gives the attention of a vision transformer to tell apart.

Metric of PSAQ-ViT (Li et al., ECCV 2022), used by GenQ as its distribution filter for transformers: in every block
take `attention @ V` averaged over heads, drop the class token, take the cosine similarity of all pairs of patches,
estimate its density with a Gaussian kernel of bandwidth 0.01 at ten points from the smallest to the largest similarity,
add 1e-4, integrate `-p log p` by trapezoids; sum over blocks. Noise makes all patches alike and scores low; keep the
high end.

Ours: the ten points span each image's own similarities, not the batch's, so a score does not depend on the neighbours
in the batch; in windowed attention (Swin) pairs within a window count, all windows of an image making one density.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

BANDWIDTH, POINTS, FLOOR = 0.01, 10, 1e-4
_PROJECTIONS = (("qkv",), ("q_proj", "k_proj"), ("q", "kv"))


def attention_layers(module: nn.Module) -> list[nn.Module]:
    """Self-attention layers as timm writes them: heads, a projection of the input, and `proj` behind the heads."""
    return [
        layer
        for layer in module.modules()
        if isinstance(getattr(layer, "num_heads", None), int)
        and isinstance(getattr(layer, "proj", None), nn.Linear)
        and any(all(isinstance(getattr(layer, n, None), nn.Linear) for n in names) for names in _PROJECTIONS)
        and not hasattr(layer, "latent")  # attention pooling has queries of its own and no patches to compare
    ]


@contextmanager
def recording(module: nn.Module, images: int) -> Iterator[list[torch.Tensor]]:
    """While active, a forward pass of `images` images appends each block's entropy to the list given, float64 [images].

    What enters `proj` is `attention @ V` with the heads side by side, so fused attention needs no switching off.
    """
    seen: list[torch.Tensor] = []
    prefix = int(getattr(module, "num_prefix_tokens", 0))

    def hook_for(heads: int) -> object:
        def add(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.append(patch_entropy(patches_of(inputs[0], images, heads, prefix)))

        return add

    handles = [
        layer.proj.register_forward_pre_hook(hook_for(layer.num_heads))  # type: ignore[union-attr,arg-type]
        for layer in attention_layers(module)
    ]
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
    x = x.reshape(*x.shape[:-1], heads, -1).mean(-2)
    return x.reshape(images, windows, *x.shape[1:])


def patch_entropy(patches: torch.Tensor) -> torch.Tensor:
    """Differential entropy of the similarities of all pairs, float [images, windows, P, d] -> float64 [images]."""
    unit = nn.functional.normalize(patches.float(), dim=-1)
    count = unit.shape[2]
    rows, columns = torch.triu_indices(count, count, offset=1, device=unit.device)
    # The matrix is symmetric: half of it counts twice, the diagonal once.
    similar = (unit @ unit.transpose(-1, -2)).flatten(2)
    pairs = similar.index_select(2, rows * count + columns).flatten(1)
    own = unit.square().sum(-1).flatten(1)
    everything = torch.cat([pairs, own], 1)
    low, high = everything.amin(1), everything.amax(1)
    points = low + (high - low) * torch.linspace(0, 1, POINTS, device=low.device)[:, None]
    density = torch.stack([2 * _kernel(pairs, point) + _kernel(own, point) for point in points], 1)
    density = density.double() / (pairs.shape[1] * 2 + own.shape[1]) + FLOOR
    return torch.trapezoid(-density * density.log(), points.double().T, dim=1)


def _kernel(values: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Sum over [images, n] of the normal density around `point` [images]."""
    scale = BANDWIDTH * (2 * torch.pi) ** 0.5
    difference, factor = values - point[:, None], -0.5 / BANDWIDTH**2
    # Most pairs are far from the point; below -80 the exponential is denormal, which CPUs take ten times as long for.
    if torch.is_grad_enabled() and values.requires_grad:
        kernel = (difference.square() * factor).clamp_min(-80).exp()
    else:
        kernel = difference.square_().mul_(factor).clamp_min_(-80).exp_()
    total: torch.Tensor = kernel.sum(1) / scale
    return total
