"""Networks whose modules have awkward names, or compute tables at every call: quantized, stored, loaded and folded."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.fold import fold
from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.files import load_integer_model, load_reference, save_integer_model, save_reference
from genq_export.network.hooks import record_codes
from genq_export.quantization.algorithms.layernorm_equalization import equalize_layernorms
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Size = tuple[int, int, int]


def stored(module: nn.Module, size: Size, folder: Path) -> list[str]:
    """Quantize, save, load and fold; the codes are the same everywhere. Returns the names of the layers."""
    module.eval().requires_grad_(False)
    images = torch.randn(4, *size, generator=torch.Generator().manual_seed(1))
    config = QuantizeConfig(weight_bits=8, activation_bits=8)  # type: ignore[call-arg]
    rewrites = [partial(equalize_layernorms, batches=[images], bits=8)]
    network, _ = prepare(module, size, config, rule_for("onnxruntime"), rewrites)
    calibrate_ranges(network, [images])
    logits, codes = record_codes(network, images)
    save_reference(network, folder)
    reference = load_reference(folder)
    integer = fold(reference)
    save_integer_model(integer, folder)
    for again in (reference, integer, load_integer_model(folder)):
        found_logits, found_codes = record_codes(again, images)
        assert found_codes.keys() == codes.keys()
        assert [name for name in codes if not torch.equal(found_codes[name], codes[name])] == []
        assert torch.equal(found_logits, logits)
    return [part.name for part in network.modules() if isinstance(part, QuantizedLayer)]


class Named(nn.Module):
    """Layers one after the other, under names that nn.Module uses for itself, or that are none."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for number, name in enumerate(names):
            self._modules[name] = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) if number % 2 else nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = self._modules[name](x)  # type: ignore[misc]
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "a__0", "a_0"), ["a", "a__0.0", "a_0"]),
        (("quantizer", "layer_input", "parts"), ["quantizer", "layer_input.0", "parts"]),
        (("conv-1", "conv 1", "conv+1"), ["conv_1", "conv_1.0", "conv_1_2"]),
        (("größe", "gr__e", "gr__e_2"), ["gr__e", "gr__e.0", "gr__e_2"]),
    ],
)
def test_modules_of_any_name_are_stored(tmp_path: Path, names: tuple[str, ...], expected: list[str]) -> None:
    assert stored(Named(*names), (3, 9, 9), tmp_path) == expected


class Inner(nn.Module):
    """Activation functions under names that nn.Module uses for itself: `self.half` is no way to reach one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self._modules |= {name: nn.ReLU() for name in ("to", "half", "type")}

    def forward(self, x: Tensor) -> Tensor:
        to, half, kind = (self._modules[name] for name in ("to", "half", "type"))
        return kind(half(self.second(to(self.first(x)))) + x)  # type: ignore[misc, no-any-return]


class Parent(nn.Module):
    """Computes with a weight of its own before and behind its child; what it makes is quantized as the child's is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, 1, 1))
        self.inner = Inner()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(F.conv2d(x, self.weight))
        y = F.relu(F.conv2d(y + x, self.weight))
        return self.linear(y.mean((2, 3)))  # type: ignore[no-any-return]


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.parent = Parent()

    def forward(self, x: Tensor) -> Tensor:
        return self.parent(F.relu(self.stem(x)))  # type: ignore[no-any-return]


def test_a_parent_and_its_child_are_quantized_side_by_side(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = stored(Outer(), (3, 8, 8), tmp_path)
    assert layers == ["stem", "parent", "parent.inner.first", "parent.inner.second", "parent_2", "parent.linear"]
    quantizers = {part.name for part in load_reference(tmp_path).modules() if isinstance(part, ActivationQuantizer)}
    assert {"parent.inner.to", "parent.inner.half", "parent.conv2d", "parent.relu"} <= quantizers


class OneTensor(nn.Module):
    """A model of transformers as a network of one output: the mean of the last hidden state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.model(x)[0]
        return hidden.mean(1)


def vit(attention: str) -> nn.Module:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    return OneTensor(ViTModel(ViTConfig(**sizes, intermediate_size=64, attn_implementation=attention)))


def dinov2(attention: str) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    return OneTensor(Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2, attn_implementation=attention)))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("make", [vit, dinov2])
def test_transformers_are_stored(tmp_path: Path, make: Callable[[str], nn.Module], attention: str) -> None:
    torch.manual_seed(0)
    assert len(stored(make(attention), (3, 32, 32), tmp_path)) == 13


def small_swin_v2() -> nn.Module:
    from torchvision.models import swin_transformer as swin

    return swin.SwinTransformer(
        [4, 4], 16, [2, 2], [1, 2], [4, 4], num_classes=5, block=swin.SwinTransformerBlockV2,
        downsample_layer=swin.PatchMergingV2,
    )  # fmt: skip


def timm_model(name: str, **keywords: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        module: nn.Module = timm.create_model(name, pretrained=False, num_classes=5, **keywords)
        return module

    return make


def torchvision_model(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision

        module: nn.Module = getattr(torchvision.models, name)(num_classes=5)
        return module

    return make


FAST: dict[str, tuple[Callable[[], nn.Module], Size]] = {
    "torchvision swin v2": (small_swin_v2, (3, 32, 32)),
    "shufflenet": (torchvision_model("shufflenet_v2_x0_5"), (3, 64, 64)),
    "edgenext": (timm_model("edgenext_xx_small", dims=(8, 16, 24, 32), depths=(1, 1, 2, 1)), (3, 32, 32)),
    "xcit": (timm_model("xcit_nano_12_p16_224", embed_dim=32, depth=2, num_heads=2), (3, 64, 64)),
    "swin v2 cr": (
        timm_model("swinv2_cr_tiny_ns_224", img_size=64, embed_dim=16, depths=(2, 2), num_heads=(1, 2), window_size=4),
        (3, 64, 64),
    ),
    "swin v2": (
        timm_model(
            "swinv2_tiny_window8_256", img_size=64, embed_dim=16, depths=(2, 2), num_heads=(1, 2), window_size=4
        ),
        (3, 64, 64),
    ),
    "coat": (
        timm_model("coat_tiny", img_size=32, embed_dims=(16,) * 4, serial_depths=(1,) * 4, parallel_depth=1),
        (3, 32, 32),
    ),
    "dinov3": (timm_model("vit_small_patch16_dinov3", img_size=64, embed_dim=32, depth=2, num_heads=2), (3, 64, 64)),
    "eva02": (timm_model("eva02_tiny_patch14_224", img_size=56, embed_dim=48, depth=2, num_heads=3), (3, 56, 56)),
}  # fmt: skip
SLOW: dict[str, tuple[Callable[[], nn.Module], Size]] = {
    "swin_v2_t": (torchvision_model("swin_v2_t"), (3, 64, 64)),
    "edgenext_small": (timm_model("edgenext_small"), (3, 64, 64)),
    "xcit_nano_12_p16_224": (timm_model("xcit_nano_12_p16_224"), (3, 64, 64)),
    "swinv2_cr_tiny_224": (timm_model("swinv2_cr_tiny_224"), (3, 224, 224)),
    "swinv2_tiny_window8_256": (timm_model("swinv2_tiny_window8_256", img_size=64), (3, 64, 64)),
    "coat_tiny": (timm_model("coat_tiny", img_size=64), (3, 64, 64)),
    "vit_small_patch16_dinov3": (timm_model("vit_small_patch16_dinov3", img_size=64), (3, 64, 64)),
    "eva02_tiny_patch14_224": (timm_model("eva02_tiny_patch14_224", img_size=56), (3, 56, 56)),
    "convit_tiny": (timm_model("convit_tiny", img_size=64), (3, 64, 64)),
    "efficientvit_b0": (timm_model("efficientvit_b0"), (3, 64, 64)),
    "levit_128s": (timm_model("levit_128s"), (3, 224, 224)),
}  # fmt: skip


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_families_are_stored(tmp_path: Path, name: str) -> None:
    make, size = (FAST | SLOW)[name]
    torch.manual_seed(0)
    assert stored(make(), size, tmp_path)
