"""Which tensors are never negative, and so get a grid that counts up from zero."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.aten import called_module
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.quantization.grid_sign import non_negative_nodes
from genq_export.quantization.prepare import prepare
from genq_export.targets import rule_for

Joined = Callable[[Tensor, Tensor], Tensor]


class Two(nn.Module):
    """Two convolutions, joined in some way, and one that reads what comes of it."""

    def __init__(self, joined: Joined) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.last = nn.LazyConv2d(4, 1)
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.joined(self.first(x), self.second(x)))
        return x.mean((2, 3))


NEVER: dict[str, Joined] = {
    "a sum of ReLUs": lambda a, b: F.relu(a) + F.relu(b),
    "a smaller map joins it": lambda a, b: F.relu(a) + F.interpolate(F.max_pool2d(F.relu(b), 2), scale_factor=2),
    "one multiplied with a gate": lambda a, b: F.relu(a) * b.sigmoid(),
    "an average": lambda a, b: F.avg_pool2d(F.relu6(a) + b.clamp(0, 1), 2),
    "a mean": lambda a, b: F.relu(a + b).mean((2, 3), keepdim=True),
    "something is added to it": lambda a, b: F.relu(a) + 1.5 + F.relu(b),
}  # fmt: skip
MAY_BE: dict[str, Joined] = {
    "a residual sum": lambda a, b: a + F.relu(b),
    "a difference": lambda a, b: F.relu(a) - F.relu(b),
    "a negative multiple": lambda a, b: F.relu(a) + F.relu(b) * -0.5,
    "a sum with a negative weight": lambda a, b: torch.add(F.relu(a), F.relu(b), alpha=-2),
    "a negative offset": lambda a, b: F.relu(a) + F.relu(b) + -1.0,
    "clipped below zero": lambda a, b: a.clamp(-1, 1) + F.relu(b),
    "padded with a negative number": lambda a, b: F.pad(F.relu(a) + F.relu(b), (1, 1, 1, 1), value=-1.0),
}  # fmt: skip


def read_by_last(joined: Joined, settings: Callable[..., QuantizeConfig], target: str) -> ActivationQuantizer:
    module = Two(joined).eval()
    module(torch.zeros(1, 3, 4, 4))
    gm, _ = prepare(module, (3, 4, 4), settings(), rule_for(target))
    *_, last = (node for node in gm.graph.nodes if isinstance(called_module(gm, node), QuantizedLayer))
    part = gm.owner(last.args[1])
    assert isinstance(part, ActivationQuantizer)
    return part


@pytest.mark.parametrize("kind", NEVER)
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_what_is_never_negative_has_all_its_codes(
    kind: str, target: str, settings: Callable[..., QuantizeConfig]
) -> None:
    assert not read_by_last(NEVER[kind], settings, target).grid.signed


@pytest.mark.parametrize("kind", MAY_BE)
def test_what_may_be_negative_keeps_its_sign(kind: str, settings: Callable[..., QuantizeConfig]) -> None:
    assert read_by_last(MAY_BE[kind], settings, "onnxruntime").grid.signed


def test_nothing_is_known_of_images_and_constants() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("by", torch.ones(1, 3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) + self.by

    graph = torch.export.export(Shifted().eval(), (torch.zeros(1, 3, 2, 2),)).module().graph
    assert [node.name for node in non_negative_nodes(graph)] == ["relu"]
