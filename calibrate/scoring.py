"""One streaming pass over a pool: the energy and the distribution score of every image."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from calibrate import distribution, patches
from calibrate.dataset import rounded
from calibrate.energy import energy
from genq_export.images import load_images
from genq_export.models import LoadedModel

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
    def misfit(self) -> float | None:
        """The distribution score with low as good: BN sensitivity, or patch entropy with its sign changed."""
        return self.bn_sensitivity if self.patch_entropy is None else -self.patch_entropy


def distribution_score(model: LoadedModel) -> str | None:
    """The network's distribution score: BN statistics where it has them, else its patches, else None (ConvNeXt)."""
    if distribution.bn_layers(model.module):
        return "bn_sensitivity"
    return "patch_entropy" if patches.attention_layers(model.module) else None


def score(model: LoadedModel, paths: Sequence[Path], temperature: float, device: str) -> Iterator[Scores]:
    """Yield the scores of every file, in order. Memory does not grow with their number."""
    model.module.to(device)
    try:
        for start, end in groups(len(paths), GROUP):
            yield from _score_group(model, paths[start:end], temperature, device)
    finally:
        model.module.cpu()


def groups(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Nearly equal consecutive ranges of at most `size` that cover `count`: no last group of one."""
    number = -(-count // size)
    for index in range(number):
        yield index * count // number, (index + 1) * count // number


@torch.inference_mode()
def _score_group(model: LoadedModel, paths: Sequence[Path], temperature: float, device: str) -> list[Scores]:
    kind = distribution_score(model)
    energies: list[float] = []
    entropies: list[float] = []
    sums: list[list[distribution.ChannelSums]] = []
    for start in range(0, len(paths), FORWARD_BATCH):
        images = load_images(paths[start : start + FORWARD_BATCH], model).to(device)
        with ExitStack() as recordings:
            if kind == "bn_sensitivity":
                sums.append(recordings.enter_context(distribution.recording(model.module)))
            if kind == "patch_entropy":
                blocks = recordings.enter_context(patches.recording(model.module, len(images)))
            energies += energy(model.module(images), temperature).tolist()
        if kind == "patch_entropy":
            entropies += torch.stack(blocks).sum(0).tolist()
    if kind == "bn_sensitivity":
        sensitivities = distribution.bn_sensitivity(distribution.concatenate(sums)).tolist()
        return [Scores(*pair) for pair in zip(energies, sensitivities, strict=True)]
    if kind == "patch_entropy":
        return [Scores(value, None, entropy) for value, entropy in zip(energies, entropies, strict=True)]
    return [Scores(value) for value in energies]
