"""Energy score: how well a network knows an image, from its logits alone."""

from collections.abc import Sequence

import torch

from calibrate.filters.filter import Filter
from genq_export.config.calibrate import CalibrateConfig
from genq_export.models.loaded import LoadedModel
from genq_export.tasks.task import task_of


class EnergyFilter(Filter):
    """Keep the images that the network is surest of (GenQ §3).

    A network that ends in a softmax gives probabilities, which all have one energy; what enters the softmax are logits.
    Where that cannot be seen, because more is computed behind it, the filter is off.
    """

    name = "energy"
    role = "energy"

    def applies_to(self, model: LoadedModel) -> bool:
        """Networks that tell classes apart, of images or of positions."""
        return task_of(model.task).gives_logits and not model.hides_logits

    def scores(
        self, records: Sequence[object], logits: Sequence[torch.Tensor], settings: CalibrateConfig
    ) -> list[float]:
        """The energy of each image."""
        return [value for batch in logits for value in energy(batch, settings.energy_temperature).tolist()]

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
