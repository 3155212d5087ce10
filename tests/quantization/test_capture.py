"""The captured graph is the network, simplified."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.core.errors import UserError
from genq_export.models.answers import tried
from genq_export.network.aten import op_name
from genq_export.quantization.capture import capture

SIZE = (3, 8, 8)


def operators(module: nn.Module) -> list[str]:
    return [op_name(node) for node in capture(module, SIZE).graph.nodes if op_name(node)]


def test_the_graph_computes_the_network_at_any_batch_size(network: Callable[[str], nn.Module], images: Tensor) -> None:
    module = network("residual")
    gm = capture(module, (3, 16, 16))
    for count in (1, 5):
        assert torch.allclose(gm(images[:count]), module(images[:count]), atol=1e-5)
    left = {op_name(node) for node in gm.graph.nodes}
    assert not {"batch_norm", "relu_", "add_", "dropout"} & left


class TwiceNormed(nn.Module):
    """One convolution called twice, a BatchNorm of its own behind each call, the last one without gain and offset."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3)])
        for norm in self.norms:
            nn.init.uniform_(norm.running_var, 0.5, 3.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.conv(x)))
        x = self.norms[1](self.conv(x))
        logits: Tensor = self.norms[2](F.relu(x)).mean((2, 3))
        return logits


def test_batch_norms_fold_call_by_call_and_one_behind_no_convolution_becomes_arithmetic() -> None:
    torch.manual_seed(0)
    module = TwiceNormed().eval()
    gm = capture(module, SIZE)
    x = torch.randn(2, *SIZE)
    assert torch.allclose(gm(x), module(x), atol=1e-5)
    assert "batch_norm" not in {op_name(node) for node in gm.graph.nodes}


class Standardised(nn.Module):
    """Weight standardisation, and padding by name with sides that differ."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 2, 2))
        self.same = nn.Conv2d(4, 4, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std()
        x = F.conv2d(x, weight, padding="same")
        logits: Tensor = self.same(x).mean((2, 3))
        return logits


@pytest.mark.filterwarnings("ignore:Using padding")
def test_computed_weights_and_padding_by_name_become_plain() -> None:
    torch.manual_seed(0)
    module = Standardised().eval()
    gm = capture(module, SIZE)
    x = torch.randn(2, *SIZE)
    assert torch.allclose(gm(x), module(x), atol=1e-5)
    layers = [node for node in gm.graph.nodes if op_name(node) == "conv2d"]
    assert all(node.args[1].op == "get_attr" for node in layers)
    assert [list(node.args[4]) for node in layers] == [[0, 0], [1, 1]]


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y.add_(x)
        F.relu_(y)
        return y.mean((2, 3))


def test_in_place_operators_whose_result_is_dropped_are_kept_or_refused() -> None:
    x = torch.randn(2, *SIZE)
    try:
        found = capture(InPlace().eval(), SIZE)(x)
    except UserError as error:
        assert "in-place" in str(error)
    else:
        assert torch.allclose(found, InPlace()(x))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def test_a_network_that_does_not_trace_is_refused_with_the_line() -> None:
    with pytest.raises(UserError, match=r"does not trace.*"):
        capture(Branching().eval(), SIZE)


class TwoHeads(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3)), x.amax((2, 3))


def test_several_outputs_have_names() -> None:
    network = tried("heads", TwoHeads().eval(), SIZE).module
    captured = capture(network, SIZE)
    images = torch.randn(3, *SIZE)
    with torch.no_grad():
        found, expected = captured(images), network(images)
    assert list(found) == list(expected) == ["output_0", "output_1"]
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


class Constant(nn.Module):
    """Its second output is the same for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.table = nn.Parameter(torch.ones(1, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": self.conv(x), "b": self.table + 0}


def test_an_output_that_no_image_decides_is_refused() -> None:
    with pytest.raises(UserError, match="b of the network is not computed from the image: leave it out with --outputs"):
        capture(Constant().eval(), SIZE)


class Switched(nn.Module):
    """Attention in timm's manner: a switch decides whether its products are visible."""

    def __init__(self, fused: bool, fails: bool = False) -> None:
        super().__init__()
        self.fused_attn = fused
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        if self.fails:
            return x.mean((1, 2)) if x.sum() > 0 else x.amax((1, 2))
        if self.fused_attn:
            return F.scaled_dot_product_attention(x, x, x)
        return (x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5).softmax(-1) @ x


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_caller_s_network_comes_back_as_it_was(fused: bool, fails: bool) -> None:
    module = nn.Sequential(nn.Identity(), Switched(fused, fails)).eval()
    if fails:
        with pytest.raises(UserError, match="does not trace"):
            capture(module, SIZE)
    else:
        left = {op_name(node) for node in capture(module, SIZE).graph.nodes}
        assert "matmul" in left and "scaled_dot_product_attention" not in left
    assert module[1].fused_attn is fused and not module.training


class Limited(nn.Module):
    """A table of the network's own that holds infinity, and a parameter that must not."""

    limits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("limits", torch.tensor([float("-inf"), float("inf")]))
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.limits[0], self.limits[1]).mean((2, 3)) * self.gain


def test_infinity_is_damage_in_a_parameter_and_none_in_a_table() -> None:
    module = Limited().eval()
    assert torch.allclose(capture(module, SIZE)(torch.ones(1, *SIZE)), torch.ones(1, 3))
    with torch.no_grad():
        module.gain.fill_(float("inf"))
    with pytest.raises(UserError, match="'gain' holds NaN or infinity"):
        capture(module, SIZE)
