import pytest
import torch
from torch import nn

from calibrate.filters.bn_sensitivity import bn_sensitivity, channel_sums, recording, running_statistics


def _network(bias: float = 0.0) -> nn.Sequential:
    """bias: what the first BN layer's input is offset by, in training and since."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2), nn.BatchNorm2d(12),
        nn.Flatten(), nn.Linear(432, 10), nn.BatchNorm1d(10),
    )  # fmt: skip
    network[0].bias.data.fill_(bias)
    for _ in range(60 if bias else 5):
        network(torch.randn(32, 3, 16, 16) * 2 + 1)
    return network.eval()


def _brute_force(network: nn.Module, images: torch.Tensor) -> float:
    """D(X) as the formula says it, in float64 from the activations themselves."""
    total = 0.0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal total
        assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
        assert layer.running_mean is not None and layer.running_var is not None
        x = inputs[0].double().transpose(0, 1).flatten(1)
        mean, std = x.mean(1), x.std(1, correction=0)
        total += float((mean - layer.running_mean.double()).square().sum())
        total += float((std - layer.running_var.double().sqrt()).square().sum())

    handles = [m.register_forward_pre_hook(add) for m in network if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    network(images)
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("bias", [0.0, 200.0])
@torch.no_grad()
def test_leave_one_out_is_exact(offset: float, bias: float) -> None:
    network, images = _network(bias), torch.randn(17, 3, 16, 16) * torch.rand(17, 1, 1, 1) * 4 + offset
    assert running_statistics(network[1]).plain_sums_do == (bias == 0), "both ways of summing are looked at"
    with recording(network) as first:
        network(images[:10])
    with recording(network) as second:
        network(images[10:])
    found = bn_sensitivity(channel_sums([first, second]))
    whole = _brute_force(network, images)
    for left_out in range(17):
        rest = torch.cat([images[:left_out], images[left_out + 1 :]])
        expected = whole - _brute_force(network, rest)
        assert float(found[left_out]) == pytest.approx(expected, rel=1e-5, abs=1e-5 * whole / 17)


@torch.no_grad()
def test_the_image_unlike_the_training_data_pulls_hardest() -> None:
    network, images = _network(), torch.randn(20, 3, 16, 16) * 2 + 1
    images[7] = 12 * torch.rand(3, 16, 16)
    with recording(network) as seen:
        network(images)
    found = bn_sensitivity(channel_sums([seen]))
    assert int(found.argmax()) == 7 and float(found[7]) > 0


@torch.no_grad()
def test_a_single_image_has_nothing_to_be_compared_with() -> None:
    network = _network()
    with recording(network) as seen:
        network(torch.randn(1, 3, 16, 16))
    assert bn_sensitivity(channel_sums([seen])).tolist() == [0.0]
