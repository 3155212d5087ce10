"""One streaming pass over a pool: the energy and the distribution score of every image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from calibrate.dataset import rounded
from calibrate.distribution import ChannelSums, bn_layers, bn_sensitivity, concatenate, recording
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
        """The distribution score with low as good."""
        return self.bn_sensitivity


def distribution_score(model: LoadedModel) -> str | None:
    """Which distribution score a network has: "bn_sensitivity", or None."""
    return "bn_sensitivity" if bn_layers(model.module) else None


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
    energies: list[float] = []
    sums: list[list[ChannelSums]] = []
    by_layers = distribution_score(model) == "bn_sensitivity"
    for start in range(0, len(paths), FORWARD_BATCH):
        images = load_images(paths[start : start + FORWARD_BATCH], model).to(device)
        with recording(model.module) as seen:
            energies += energy(model.module(images), temperature).tolist()
        sums.append(seen)
    sensitivities = bn_sensitivity(concatenate(sums)).tolist() if by_layers else [None] * len(energies)
    return [Scores(*pair) for pair in zip(energies, sensitivities, strict=True)]
