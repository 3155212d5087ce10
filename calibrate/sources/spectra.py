"""Images as something to optimise: their spectra, weighted as those of photographs are.

Optimised pixel by pixel, an image fills with fine patterns. As a spectrum of which every frequency f counts 1/f, in
colours that vary independently of one another in photographs, the same steps draw large shapes first (Olah, Mordvintsev
& Schubert, "Feature Visualization", Distill 2017, "preconditioning").
"""

import torch
from torch import Tensor, nn

_DARKEST = 0.02  # of the pixels at the start, as of the brightest to white: the sigmoid reaches neither end
# Square root of the covariance of red, green and blue in photographs of ImageNet (Olah et al.).
_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class Spectra(nn.Module):
    """One spectrum an image; they begin as the images given, float32 [B, C, H, W] in [0, 1]."""

    weight: Tensor
    colours: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        channels, self._height, self._width = images.shape[1:]
        self.register_buffer("weight", falling(self._height, self._width))
        self.register_buffer("colours", colour_directions(channels))
        values = images.clamp(_DARKEST, 1 - _DARKEST).logit()
        layers = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(self.colours), values)
        self.numbers = nn.Parameter(torch.view_as_real(torch.fft.rfft2(layers, norm="ortho") / self.weight))

    def forward(self) -> Tensor:
        """float32 [B, C, H, W] in (0, 1)."""
        spectrum = torch.view_as_complex(self.numbers) * self.weight
        layers = torch.fft.irfft2(spectrum, s=(self._height, self._width), norm="ortho")
        return torch.einsum("cd,bdhw->bchw", self.colours, layers).sigmoid()


def falling(height: int, width: int) -> Tensor:
    """1/f for each frequency of `rfft2`, float32 [H, W // 2 + 1], root mean square 1; the constant as the lowest."""
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    return 1 / frequency / frequency.pow(-2).mean().sqrt()


def colour_directions(channels: int) -> Tensor:
    """Columns that vary independently, the first of length 1; the identity where channels are not colours."""
    if channels != len(_COLOURS):
        return torch.eye(channels)
    colours = torch.tensor(_COLOURS)
    longest: Tensor = colours.norm(dim=0).max()
    return colours / longest
