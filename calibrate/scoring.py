"""One streaming pass over a pool: the energy and the distribution score of every image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from calibrate.dataset import rounded
from calibrate.filters import bn_sensitivity as distribution
from calibrate.filters import patch_entropy as patches
from calibrate.filters.energy import energy
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel

FORWARD_BATCH = 64
GROUP = 256  # images whose statistics are compared leaving one out; bounds memory whatever the pool


@dataclass(frozen=True)
class Scores:
    """energy: low is in-distribution. bn_sensitivity: high pulls away. None where the network has no such score."""

    energy: float
    bn_sensitivity: float | None = None
    patch_entropy: float | None = None

    def rounded(self) -> "Scores":
        """The numbers as the metadata states them."""
        bn, patches = self.bn_sensitivity, self.patch_entropy
        return Scores(
            rounded(self.energy), None if bn is None else rounded(bn), None if patches is None else rounded(patches)
        )

    @property
    def distribution_score(self) -> float | None:
        """The distribution score with low as good: BN sensitivity, or patch entropy with its sign changed."""
        return self.bn_sensitivity if self.patch_entropy is None else -self.patch_entropy


def distribution_score_name(model: LoadedModel) -> str | None:
    """The network's distribution score: BN statistics where it has them, else its patches, else None (ConvNeXt)."""
    if distribution.bn_layers(model.module):
        return "bn_sensitivity"
    return "patch_entropy" if patches.attention_layers(model.module) else None


def score(model: LoadedModel, paths: Sequence[Path], temperature: float, device: str) -> Iterator[Scores]:
    """Yield the scores of every file, in order. Memory does not grow with their number."""
    model.module.to(device)
    try:
        for start, end in groups(len(paths), GROUP):
            yield from score_group(model, _batches(model, paths[start:end], device), temperature)
    finally:
        model.module.cpu()


def groups(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Nearly equal consecutive ranges of at most `size` that cover `count`: no last group of one."""
    number = -(-count // size)
    for index in range(number):
        yield index * count // number, (index + 1) * count // number


def _batches(model: LoadedModel, paths: Sequence[Path], device: str) -> Iterator[torch.Tensor]:
    for start in range(0, len(paths), FORWARD_BATCH):
        yield load_images(paths[start : start + FORWARD_BATCH], model).to(device)


@torch.inference_mode()
def score_group(model: LoadedModel, batches: Iterable[torch.Tensor], temperature: float) -> list[Scores]:
    """Scores of images that are compared with each other: one forward pass a batch, float [B, C, H, W]."""
    kind = distribution_score_name(model)
    if kind == "bn_sensitivity":
        return _with_bn_sensitivity(model, batches, temperature)
    if kind == "patch_entropy":
        return _with_patch_entropy(model, batches, temperature)
    return [Scores(value) for images in batches for value in energy(model.module(images), temperature).tolist()]


def _with_bn_sensitivity(model: LoadedModel, batches: Iterable[torch.Tensor], temperature: float) -> list[Scores]:
    energies: list[float] = []
    sums: list[list[distribution.Seen]] = []
    with distribution.recording(model.module) as seen:
        for images in batches:
            energies += energy(model.module(images), temperature).tolist()
            sums.append(seen.copy())
            seen.clear()
    sensitivities = distribution.bn_sensitivity(distribution.channel_sums(sums)).tolist()
    return [Scores(*pair) for pair in zip(energies, sensitivities, strict=True)]


def _with_patch_entropy(model: LoadedModel, batches: Iterable[torch.Tensor], temperature: float) -> list[Scores]:
    scores: list[Scores] = []
    for images in batches:
        with patches.recording(model.module, len(images)) as blocks:
            energies = energy(model.module(images), temperature).tolist()
        entropies = torch.stack(blocks).sum(0).tolist()
        scores += [Scores(value, None, entropy) for value, entropy in zip(energies, entropies, strict=True)]
    return scores
