"""Codes that were learned still point to where their float weight does; what took another's place does not."""

from collections.abc import Callable

import pytest
import torch

from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.range_search import search_weight_scale
from runtime_tests.verify.channel_response import Response
from runtime_tests.verify.results import WeightQuality
from runtime_tests.verify.weight_faults import unrelated
from runtime_tests.verify.weight_relation import relation


def layer(bits: int, channels: int = 32, inputs: int = 64) -> QuantizedLayer:
    """Rounded to the next code but for one in three, which goes to the other side, as learning may leave it."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(channels, inputs, generator=generator), torch.randn(channels, generator=generator)
    made = QuantizedLayer("fc", "linear", bits, weight, bias, bias_on_grid=False)
    made.weight_scale.copy_(search_weight_scale(weight, made.grid))
    made.round_weight()
    steps = weight / made.weight_scale[:, None]
    other = torch.where(steps > made.codes, made.codes + 1, made.codes - 1).clamp(made.grid.lo, made.grid.hi)
    made.codes.copy_(
        torch.where(torch.rand(weight.shape, generator=generator) < 1 / 3, other.to(torch.int8), made.codes)
    )
    return made


def faults(made: QuantizedLayer) -> list[str]:
    return list(unrelated([WeightQuality(name=made.name, bits=made.grid.bits, sqnr_db=0.0, relation=relation(made))]))


def zeroed(made: QuantizedLayer) -> None:
    made.codes[3] = 0


def shuffled(made: QuantizedLayer) -> None:
    made.codes[3] = made.codes[3].flip(0)


def swapped(made: QuantizedLayer) -> None:
    made.codes[[5, 2]] = made.codes[[2, 5]].clone()


def enlarged(made: QuantizedLayer) -> None:
    made.weight_scale.mul_(1.5)


def without_bias(made: QuantizedLayer) -> None:
    made.bias.zero_()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (zeroed, "the codes of output channel 3 of fc have nothing of its float weight"),
        (shuffled, "the codes of output channel 3 of fc have nothing of its float weight"),
        (swapped, "output channels 2 and 5 of fc are exchanged"),
        (enlarged, "the weight scales of fc are 1.50 times those that its float weight asks for"),
        (without_bias, "the bias of fc has 0 % of the float bias's size"),
    ],
)
def test_a_fault_is_told_from_learning(bits: int, plant: Callable[[QuantizedLayer], None], said: str) -> None:
    made = layer(bits)
    assert faults(made) == []
    plant(made)
    assert said in faults(made)


def test_channels_without_a_code_by_right_are_not_asked_for_one() -> None:
    """Their scale was raised to make room for a bias; or there is no weight at all."""
    made = layer(4)
    made.weight[1] *= 1e-6
    made.codes[1] = 0
    made.weight[2], made.codes[2] = 0, 0
    assert faults(made) == []
    made.weight.zero_()
    made.codes.zero_()
    assert faults(made) == []
    assert relation(made).likeness is None


def test_a_layer_of_one_channel_has_none_to_exchange() -> None:
    made = layer(4, channels=1)
    assert relation(made).exchange is None and faults(made) == []


def test_channels_that_are_alike_are_not_exchanged() -> None:
    """As depthwise kernels are: any of them may stand for another."""
    made = layer(2)
    made.weight[4] = made.weight[7] * 1.01
    made.weight_scale.copy_(search_weight_scale(made.weight, made.grid))
    made.round_weight()
    assert faults(made) == []


@pytest.mark.parametrize(("learned", "strange"), [(False, False), (True, True)])
def test_outputs_that_grow_are_a_fault_of_weights_that_are_not_the_float_ones(learned: bool, strange: bool) -> None:
    """Of a layer whose codes are plainly rounded the inputs have grown, in a network far from float."""
    made = layer(4)
    if not learned:
        made = layer(8)
        made.round_weight()
    grown = Response(likeness=torch.ones(32), slope=1.4)
    found = relation(made, grown)
    quality = WeightQuality(name=made.name, bits=made.grid.bits, sqnr_db=0.0, relation=found)
    assert any("weight scales of fc are 1.40 times" in line for line in unrelated([quality])) == strange
