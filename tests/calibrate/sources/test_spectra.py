import pytest
import torch

from calibrate.sources.spectra import Spectra, colour_directions, falling


def energy_below(images: torch.Tensor, frequency: float) -> float:
    """Share of the variance of images [B, C, H, W] at frequencies below `frequency` (cycles a pixel)."""
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square()
    height, width = images.shape[2:]
    low = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]) < frequency
    return float(power[..., low].sum() / power.sum())


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 48, 81), (2, 1, 65, 33)])
def test_they_begin_as_the_images_given_but_for_black_and_white(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = torch.rand(shape)
    images[..., 0, :2] = torch.tensor([0.0, 1.0])
    assert torch.allclose(Spectra(images)(), images.clamp(0.02, 0.98), atol=1e-4)


def test_what_a_frequency_counts_falls_as_it_rises() -> None:
    weight = falling(64, 64)
    assert float(weight.square().mean()) == pytest.approx(1)
    assert float(weight[0, 2] / weight[0, 8]) == pytest.approx(4)
    assert float(weight[2, 0] / weight[8, 0]) == pytest.approx(4)
    assert float(weight[0, 0]) == float(weight.max())


def test_steps_towards_a_picture_draw_its_large_shapes_first() -> None:
    torch.manual_seed(0)
    grey, wanted = torch.full((1, 3, 64, 64), 0.5), torch.rand(1, 3, 64, 64)  # which has as much of all frequencies
    spectra, pixels = Spectra(grey), torch.nn.Parameter(grey.clone())
    for parameters, image in (([*spectra.parameters()], spectra), ([pixels], lambda: pixels)):
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            (image() - wanted).square().sum().backward()
            optimizer.step()
    assert energy_below(spectra().detach(), 0.1) > 5 * energy_below(pixels.detach(), 0.1)


def test_colours_apart_from_brightness_are_faint_and_other_channels_are_left_alone() -> None:
    colours = colour_directions(3)
    assert (colours[:, 0] > 0).all() and colours.norm(dim=0).tolist() == sorted(colours.norm(dim=0), reverse=True)
    assert torch.equal(colour_directions(1), torch.eye(1))
