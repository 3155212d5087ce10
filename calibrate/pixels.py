"""From a generator's floating-point images to pixels, and which of them are no images at all."""

import numpy as np
import torch

NOT_FINITE, CENSORED, FLAT = "not finite", "safety checker", "flat"
# What helps where a generator gives nothing but images that are useless for one reason.
REMEDIES = {
    NOT_FINITE: "compute in float32 with --device cpu, or try another --guidance, --steps or --generator",
    CENSORED: "its safety checker takes them for offensive: try other names with --classes FILE, more --steps, or"
    " another --generator",
    FLAT: "try more --steps, another --guidance or --draw-size, or another --generator",
}
FLAT_STD = 0.01  # of pixels in [0, 1]: 2.5 grey levels, far below the faintest drawing


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """float [B, 3, H, W] in [0, 1] -> uint8 [B, H, W, 3], rounded; not-finite values become black."""
    finite = torch.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0).clamp(0, 1)
    pixels: np.ndarray = (finite * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def reject_reason(image: torch.Tensor, flagged: bool) -> str | None:
    """Why an image float [3, H, W] in [0, 1] cannot be used: "not finite", "safety checker", "flat"; None if it can.

    flagged: the pipeline's safety checker objects, and has blackened the image.
    """
    if not torch.isfinite(image).all():
        return NOT_FINITE
    if flagged:
        return CENSORED
    return FLAT if float(image.std()) < FLAT_STD else None


def threads(device: str) -> dict[str, int]:
    """On a CPU the number of threads is part of what decides an image: sums are split among them. Elsewhere nothing."""
    return {"threads": torch.get_num_threads()} if device == "cpu" else {}
