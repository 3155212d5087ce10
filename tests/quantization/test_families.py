"""The timm families that people deploy: quantize with random weights, reconstruct one block, fold, compare codes."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn

from export.fold import fold
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.progress import Progress
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.hooks import record_codes, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.algorithms.layernorm_equalization import equalize_layernorms
from genq_export.quantization.blocks import run_blocks, split
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

TARGETS = ("onnxruntime", "tensorrt")
FAST = (
    ("test_resnet", "onnxruntime"), ("test_efficientnet", "tensorrt"), ("test_vit", "onnxruntime"),
    ("test_convnext", "tensorrt"),
)  # fmt: skip
SLOW = (
    "resnet18", "resnet50", "mobilenetv2_100", "mobilenetv3_large_100", "mnasnet_100", "efficientnet_b0",
    "tf_efficientnet_lite0", "regnety_002", "densenet121", "convnext_tiny", "vit_base_patch16_224",
    "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224",
)  # fmt: skip
# Numbers of convolutions and linear layers, where we know them by heart.
LAYERS = {"resnet18": 21, "resnet50": 54, "mobilenetv2_100": 53, "deit_tiny_patch16_224": 50}


def random_network(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network with weights and BatchNorm statistics that differ from channel to channel, and a small input."""
    import timm

    size = 56 if "swin" in name else 32
    torch.manual_seed(0)
    keywords = {"img_size": size} if "vit" in name or "deit" in name or "swin" in name else {}
    module = timm.create_model(name, pretrained=False, num_classes=10, **keywords).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.1)
    return module, (3, size, size)


@pytest.mark.parametrize(
    ("name", "target"),
    [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in itertools.product(SLOW, TARGETS))],
)
def test_a_family_quantizes_and_folds_to_the_same_codes(name: str, target: str) -> None:
    module, size = random_network(name)
    images = torch.randn(4, *size, generator=torch.Generator().manual_seed(1))
    config = QuantizeConfig.model_validate(
        {"weight_bits": 4, "activation_bits": 4, "reconstruction": {"iterations": 2}, "batch_size": 2}
    )
    even = partial(equalize_layernorms, batches=[images], bits=4)
    gm, placement = prepare(module, size, config, rule_for(target), [even])  # type: ignore[arg-type]
    assert all(row["reason"] for row in placement.unquantized)
    assert calibrate_ranges(gm, [images]) == []
    layers = [part for part in gm.modules() if isinstance(part, QuantizedLayer)]
    wanted = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in module.modules())
    assert len(layers) == LAYERS.get(name, wanted) == wanted

    with torch.no_grad():
        set_quantization(gm, False)
        expected = module(images)
        assert torch.allclose(gm(images), expected, atol=1e-3 * float(expected.abs().max()), rtol=1e-2)
        set_quantization(gm, True)
        blocks = split(gm)
        assert torch.equal(run_blocks(blocks, images), gm(images))
    _reconstruct_one(gm, images, config, len(blocks))

    logits, codes = record_codes(gm, images)
    folded_logits, folded_codes = record_codes(fold(gm), images)
    assert codes.keys() == folded_codes.keys()
    assert [name for name in codes if not torch.equal(codes[name], folded_codes[name])] == []
    assert torch.equal(logits, folded_logits)


class _Enough(Exception):
    pass


def _reconstruct_one(gm: GraphNetwork, images: torch.Tensor, config: QuantizeConfig, count: int) -> None:
    """Learn the first block alone."""

    def save(number: int, tensors: dict[str, torch.Tensor]) -> None:
        assert count > 2 and tensors
        raise _Enough

    with pytest.raises(_Enough):
        reconstruct(gm, images, config, 0, BlockStore(lambda number: None, save), Progress(quiet=True))
