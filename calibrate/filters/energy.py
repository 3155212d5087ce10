"""Energy score: how well a network knows an image, from its logits alone."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from calibrate.filters.filter import Filter
from genq_export.config.calibrate import CalibrateConfig
from genq_export.models.loaded import LoadedModel
from genq_export.tasks.task import task_of


class EnergyFilter(Filter):
    """Keep the images that the network is surest of (GenQ §3).

    A network that ends in a softmax gives probabilities, which all have one energy; what enters the softmax are logits.
    """

    name = "energy"
    role = "energy"

    def applies_to(self, model: LoadedModel) -> bool:
        """Networks that tell classes apart, of images or of positions."""
        return task_of(model.task).gives_logits

    def recording(self, module: nn.Module, images: int) -> AbstractContextManager["LastSoftmax"]:
        """What the last softmax reads and gives."""
        return softmax_watched(module)

    def scores(
        self, records: Sequence["LastSoftmax"], logits: Sequence[torch.Tensor], settings: CalibrateConfig
    ) -> list[float]:
        """The energy of each image."""
        batches = (record.logits(batch) for record, batch in zip(records, logits, strict=True))
        return [value for batch in batches for value in energy(batch, settings.energy_temperature).tolist()]

    def kept_share(self, settings: CalibrateConfig) -> float:
        """`energy_keep`"""
        return settings.energy_keep

    def maximum(self, settings: CalibrateConfig) -> float | None:
        """`energy_max`"""
        return settings.energy_max

    def facts(self, settings: CalibrateConfig) -> dict[str, float]:
        """The temperature."""
        return {"energy_temperature": settings.energy_temperature}


ENERGY = EnergyFilter()


@dataclass
class LastSoftmax:
    """What the last module that is a softmax read and gave."""

    read: torch.Tensor | None = None
    gave: torch.Tensor | None = None

    def logits(self, answer: torch.Tensor) -> torch.Tensor:
        """What the network's answer was made of, where the softmax gave it; else the answer."""
        if self.read is None or self.gave is not answer:
            return answer
        return self.read


@contextmanager
def softmax_watched(module: nn.Module) -> Iterator[LastSoftmax]:
    """While active, a forward pass fills the record; a softmax that is no module is not seen."""
    last = LastSoftmax()

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if output.dim() == 2:  # not that of attention, which is large
            last.read, last.gave = inputs[0], output

    found = [part for part in module.modules() if isinstance(part, nn.Softmax | nn.LogSoftmax)]
    handles = [part.register_forward_hook(keep) for part in found]
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


def energy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """`E(x; f) = -T * logsumexp(f(x) / T)` (Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020).

    Args:
        logits: float [B, classes], or [B, classes, ...] of which the mean over all positions counts [ours].
        temperature: T.

    Returns:
        float64 [B]; low is in-distribution. GenQ keeps the low end.
    """
    scores = -temperature * torch.logsumexp(logits.double() / temperature, dim=1)
    return scores.flatten(1).mean(1) if scores.ndim > 1 else scores
