"""Input that no quantizer likes: each case ends well, or with one clear line."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from export.fold import fold
from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.network.containers import container_shift
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.hooks import record_codes
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.algorithms.qat import EpochStore, train
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.capture import capture
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Network = Callable[[str], nn.Module]
Settings = Callable[..., QuantizeConfig]
QUIET = Progress(quiet=True)


def learn(gm: GraphNetwork, images: Tensor, config: QuantizeConfig) -> None:
    reconstruct(gm, images, config, 0, BlockStore(lambda number: None, lambda number, state: None), QUIET)
    train(gm, images, config, 0, EpochStore(lambda: None, lambda state: None), QUIET)


class Constant(nn.Module):
    """A network with a tensor that is the same number everywhere, and one that is always zero."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.flat = nn.Conv2d(4, 4, 1)
        self.flat.weight.data.zero_()
        self.flat.bias.data.fill_(number)  # type: ignore[union-attr]
        self.second = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.flat(torch.relu(self.first(x))))
        logits: Tensor = self.head(torch.relu(self.second(x)).mean((2, 3)))
        return logits


@pytest.mark.parametrize("number", [0.7, -0.7])
def test_constant_and_dead_activations_learn_and_fold(settings: Settings, images: Tensor, number: float) -> None:
    torch.manual_seed(0)
    module = Constant(number).eval().requires_grad_(False)
    config = settings(4, qat={"epochs": 1})
    gm, _ = prepare(module, (3, 16, 16), config, rule_for("onnxruntime"))
    dead = calibrate_ranges(gm, [images])
    (quantizer,) = (p for p in gm.modules() if isinstance(p, ActivationQuantizer) and p.name == "relu_2")
    assert ("relu_2" in dead) == (number < 0)
    assert float(quantizer.scale) == 1 if number < 0 else float(quantizer(torch.tensor(0.7))) == pytest.approx(0.7)
    learn(gm, images, config)
    logits, codes = record_codes(gm, images)
    folded_logits, folded_codes = record_codes(fold(gm), images)
    assert torch.isfinite(logits).all() and torch.equal(logits, folded_logits)
    assert all(torch.equal(codes[name], folded_codes[name]) for name in codes)


def test_weights_that_are_not_finite_are_named(network: Network, settings: Settings, images: Tensor) -> None:
    module = network("residual")
    module.dilated.weight[0, 0, 0, 0] = math.nan
    with pytest.raises(UserError, match=r"'dilated\.weight' holds NaN or infinity"):
        prepare(module, (3, 16, 16), settings(4), rule_for("onnxruntime"))


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_a_network_that_does_not_trace_names_the_module_and_the_line() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), Branch()), nn.Flatten())
    with pytest.raises(UserError, match=r"does not trace: .*\(module 1\.1, Branch, .*test_bad_input\.py:\d+\)"):
        capture(module.eval(), (3, 8, 8))


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_images_than_a_batch_are_enough(network: Network, settings: Settings, images: Tensor, count: int) -> None:
    config = settings(4, qat={"epochs": 1}, batch_size=32, reconstruction={"iterations": 3})
    gm, _ = prepare(network("residual"), (3, 16, 16), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [images[:count]])
    learn(gm, images[:count], config)
    assert torch.isfinite(gm(images)).all()


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(2, 8), (8, 2), (7, 5)])
def test_every_mix_of_bits_fits_the_container_of_the_target(
    network: Network, settings: Settings, images: Tensor, target: str, weight_bits: int, activation_bits: int
) -> None:
    rule = rule_for(target)  # type: ignore[arg-type]
    config = settings(4, weight_bits=weight_bits, activation_bits=activation_bits)
    gm, _ = prepare(network("residual"), (3, 16, 16), config, rule)
    calibrate_ranges(gm, [images])
    for part in gm.modules():
        if isinstance(part, ActivationQuantizer):
            shift = container_shift(rule.activation_container, part.grid.lo, part.grid.hi)
            assert part.grid.signed or part.grid.bits <= rule.max_unsigned_bits or shift, (
                "it has no room, nor travels shifted"
            )
        elif isinstance(part, QuantizedLayer):
            assert part.grid.lo >= -128 and part.grid.hi <= 127


@pytest.mark.parametrize(
    "setting", ["quantize.layers={conv1: {weight_bits: 9}}", "quantize.layers={conv1: {activation_bits: 1}}",
                "quantize.mixed_precision.average_bits=1.5", "quantize.first_last_bits=16"]
)  # fmt: skip
def test_bits_that_no_target_holds_are_refused_by_name(setting: str) -> None:
    with pytest.raises(UserError, match=setting.partition("=")[0]):
        BuildConfig.for_model("resnet50", settings=[setting])
