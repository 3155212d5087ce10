import math

import pytest
import torch
from torch import nn

from calibrate.filters.attention import attention_layers
from calibrate.filters.patch_entropy import patch_entropy, patches_of, recording


def _by_definition(patches: torch.Tensor) -> float:
    """PSAQ-ViT's formulae for one image, [windows, P, d], loop by loop in float64."""
    similar = []
    for window in patches.double():
        for one in window:
            similar += [float(nn.functional.cosine_similarity(one, other, dim=0)) for other in window]
    low, high = min(similar), max(similar)
    points = [low + (high - low) * k / 9 for k in range(10)]
    density = []
    for point in points:
        kernels = [math.exp(-(((s - point) / 0.01) ** 2) / 2) / (0.01 * math.sqrt(2 * math.pi)) for s in similar]
        density.append(sum(kernels) / len(kernels) + 1e-4)
    f = [-p * math.log(p) for p in density]
    return sum((points[k + 1] - points[k]) * (f[k] + f[k + 1]) / 2 for k in range(9))


@pytest.mark.parametrize("windows", [1, 3])
def test_entropy_is_psaq_vits(windows: int) -> None:
    torch.manual_seed(0)
    patches = torch.randn(2, windows, 6, 5)
    assert patch_entropy(patches).tolist() == pytest.approx([_by_definition(image) for image in patches], rel=1e-4)


def test_identical_patches_have_no_entropy() -> None:
    assert patch_entropy(torch.ones(1, 1, 4, 3)).tolist() == pytest.approx([0.0], abs=1e-5)


def test_varied_patches_score_above_uniform_ones() -> None:
    torch.manual_seed(0)
    varied = torch.randn(1, 1, 32, 2)
    uniform = torch.ones(1, 1, 32, 2) + 0.01 * torch.randn(1, 1, 32, 2)
    assert float(patch_entropy(varied)) > float(patch_entropy(uniform))


def test_heads_windows_and_prefix_tokens() -> None:
    x = torch.arange(2 * 5 * 6, dtype=torch.float32).reshape(2, 5, 6)
    assert patches_of(x, 2, 3, 1).shape == (2, 1, 4, 2)
    assert torch.equal(patches_of(x, 2, 3, 1)[0, 0, 0], x[0, 1].reshape(3, 2).mean(0))
    assert patches_of(x, 1, 3, 1).shape == (1, 2, 5, 2), "windows have no class token"


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("vit_tiny_patch16_224", 12), ("deit_tiny_distilled_patch16_224", 12), ("swin_tiny_patch4_window7_224", 12)],
)
@torch.inference_mode()
def test_every_block_of_a_transformer_is_seen(name: str, blocks: int) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval()
    assert len(attention_layers(network)) == blocks
    images = torch.randn(2, 3, 224, 224)
    images[1] = images[1, :, :1, :1]
    plain = network(images)
    with recording(network, 2) as entropy:
        assert torch.equal(network(images), plain)
    with recording(network, 1) as alone:
        network(images[:1])
    assert len(entropy) == len(alone) == blocks and all(block.isfinite().all() for block in entropy)
    assert float(sum(alone)) == pytest.approx(float(sum(entropy)[0]), rel=1e-3), "neighbours do not count"
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_convolutions_have_no_attention() -> None:
    import timm

    assert attention_layers(timm.create_model("resnet18", pretrained=False)) == []
