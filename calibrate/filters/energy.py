"""Energy score: how well a network knows an image, from its logits alone."""

from collections.abc import Sequence
from typing import Any

import torch

from calibrate.filters.filter import Filter
from genq_export.config.calibrate import CalibrateConfig


class EnergyFilter(Filter):
    """Keep the images that the network is surest of (GenQ §3)."""

    name = "energy"
    role = "energy"

    def scores(self, records: Sequence[Any], logits: Sequence[torch.Tensor], settings: CalibrateConfig) -> list[float]:
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
        logits: float [B, classes].
        temperature: T.

    Returns:
        float64 [B]; low is in-distribution. GenQ keeps the low end.
    """
    return -temperature * torch.logsumexp(logits.double() / temperature, dim=1)
