"""Whatever multiplies becomes a convolution, a linear layer or a product before anything is placed."""

from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genq_export.core.errors import UserError
from genq_export.network.aten import op_name
from genq_export.quantization.capture import capture
from genq_export.quantization.layers import layers_of, products_of
from tests.operators import OPERATORS, Call, Image

SIZE = (3, 16, 16)
REWRITTEN = (
    "scaled_dot_product_attention", "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "einsum", "mm",
    "bmm", "addmm", "baddbmm", "conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d", "batch_norm",
)  # fmt: skip
# Convolutions and linear layers, the patches' or two images' and the classifier among them; and products.
COUNTS = {
    "fused attention": (4, 2), "fused attention, one head": (4, 2), "fused attention, causal": (4, 2),
    "fused attention, masked": (4, 2), "MultiheadAttention": (4, 2), "MultiheadAttention, weights": (4, 2),
    "MultiheadAttention, sequence first": (4, 2), "TransformerEncoderLayer": (6, 2), "einsum": (4, 2), "mm": (5, 2),
    "tied": (5, 0), "constant query": (3, 2), "windows": (4, 0), "conv1d": (3, 0), "conv1d gate": (4, 0),
    "matrix a place": (5, 0), "transposed 2, 2": (4, 0), "transposed 3, 3, dilated": (4, 0),
    "transposed lines": (3, 0), "mixed weights": (5, 0), "mixed weights, groups": (5, 0), "computed twice": (4, 3),
    "own weight behind a child": (5, 0), "under autocast, switched off": (3, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_what_multiplies_is_a_layer_or_a_product(name: str) -> None:
    torch.manual_seed(0)
    graph = capture(OPERATORS[name]().eval().requires_grad_(False), SIZE).graph  # holds it against the network itself
    names = {op_name(node) for node in graph.nodes}
    assert names.isdisjoint(REWRITTEN) and not any(part.endswith("_") for part in names)
    if name in COUNTS:
        assert (len(layers_of(graph)), len(products_of(graph))) == COUNTS[name]


def test_the_switch_of_the_library_is_left_as_it_was() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    capture(OPERATORS["MultiheadAttention"]().eval().requires_grad_(False), SIZE)
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_a_batchnorm_without_statistics_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"BatchNorm 'middle' keeps no statistics .* GroupNorm"):
        capture(Image(nn.BatchNorm2d(8, track_running_stats=False)).eval(), SIZE)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "divisor"),
    [(kernel, stride, padding, divisor)
     for kernel, stride in combinations((4, 3, 2), 2) for padding in (0, 1) for divisor in (None, 3)],
)  # fmt: skip
def test_an_average_is_a_mean_of_what_lies_inside(kernel: int, stride: int, padding: int, divisor: int | None) -> None:
    pool = nn.AvgPool2d(kernel, stride, padding, ceil_mode=True, divisor_override=divisor)
    graph = capture(Image(pool).eval().requires_grad_(False), SIZE).graph
    pools = [node for node in graph.nodes if op_name(node) == "avg_pool2d"]
    assert len(pools) == 1 and pools[0].args[5:] == (False,)


@pytest.mark.parametrize(
    ("kernel", "sides", "padding", "pads"),
    [(3, (0, 1, 0, 1), 0, True), (3, (1, 1, 1, 1), 0, False), ((4, 3), (0, 2, 1, 1), (1, 0), True)],
)
def test_a_largest_number_beyond_the_edge_is_one_of_the_image(
    kernel: int, sides: tuple[int, ...], padding: int, pads: bool
) -> None:
    pool = Call(lambda module, x: F.max_pool2d(F.pad(-x, sides, value=-torch.inf), kernel, 2, padding))
    graph = capture(Image(pool).eval().requires_grad_(False), SIZE).graph
    assert [node.args[2] for node in graph.nodes if op_name(node) == "pad"] == ["replicate"] * pads
