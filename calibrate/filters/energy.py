"""Energy score: how well a network knows an image, from its logits alone."""

import torch


def energy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """`E(x; f) = -T * logsumexp(f(x) / T)` (Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020).

    logits: float [B, classes]. Returns float64 [B]; low is in-distribution. GenQ keeps the low end.
    """
    return -temperature * torch.logsumexp(logits.double() / temperature, dim=1)
