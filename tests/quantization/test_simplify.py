"""What does not depend on the input is computed once; what writes, casts to the same or checks types is gone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genq_export.core.errors import UserError
from genq_export.network.aten import op_name
from genq_export.quantization.capture import capture

SIZE = (4, 6, 6)


class Computed(nn.Module):
    """Applies one function; `table` is a parameter that it may read."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 16).view(4, 4))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.table)


def position_table(x: Tensor, table: Tensor) -> Tensor:
    rows = torch.arange(6, dtype=torch.float32) / 6
    grid = torch.stack(torch.meshgrid(rows, rows, indexing="ij")).sin().sum(0)
    return x * grid + table.mean()


def mask_written_in_place(x: Tensor, table: Tensor) -> Tensor:
    mask = x.new_zeros((6, 6))
    mask[:3, 2:] = 1
    mask[4:] -= 0.5
    return x + mask


def bias_with_a_part_cleared(x: Tensor, table: Tensor) -> Tensor:
    bias = table.clone()
    bias[1:3].zero_()
    return x + bias.sum(1).view(4, 1, 1)


def filled_by_the_batch(x: Tensor, table: Tensor) -> Tensor:
    zeros = torch.zeros(x.shape[0], 1, 6, 6)
    ones = torch.ones_like(x[:, :1], dtype=torch.int64)
    return torch.cat([x, zeros, torch.full((x.shape[0], 1, 6, 6), 0.25), ones.float()], 1)


def cast_and_checked(x: Tensor, table: Tensor) -> Tensor:
    y = x.to(torch.float32).float().to("cpu").contiguous().detach()
    return y * (x > 0).to(torch.float32)


def under_no_grad_and_autocast(x: Tensor, table: Tensor) -> Tensor:
    with torch.no_grad():
        shift = table.sum() * 2
    with torch.autocast("cpu", enabled=False):
        x = x.float() @ x.transpose(-1, -2)
    return x + shift


def part_assigned(x: Tensor, table: Tensor) -> Tensor:
    y = x * 2
    y[:, :, 1:, 2:] += table.view(4, 4)[0]
    y[:, 0] = -x[:, 1]
    return y


def in_place_one_after_the_other(x: Tensor, table: Tensor) -> Tensor:
    y = x * 2
    y += 1
    y /= 3
    y -= 0.5
    return nn.functional.leaky_relu(y, 0.1, inplace=True)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (position_table, {"mul", "add"}),
        (mask_written_in_place, {"add"}),
        (bias_with_a_part_cleared, {"add"}),
        (filled_by_the_batch, {"sym_size", "expand", "cat"}),
        (cast_and_checked, {"gt", "to", "mul"}),
        (under_no_grad_and_autocast, {"transpose", "matmul", "add"}),
        (part_assigned, {"mul", "add", "slice", "slice_scatter", "select", "select_scatter", "neg"}),
        (in_place_one_after_the_other, {"mul", "add", "div", "sub", "leaky_relu"}),
    ],
)
def test_the_graph_holds_what_depends_on_the_input(
    function: Callable[[Tensor, Tensor], Tensor], left: set[str]
) -> None:
    module = Computed(function).eval()
    table = module.table.detach().clone()
    gm = capture(module, SIZE)
    assert {op_name(node) for node in gm.graph.nodes if node.op == "call_function"} == left
    x = torch.randn(3, *SIZE)
    assert torch.equal(gm(x), module(x))
    assert torch.equal(module.table, table), "the network's own parameters are not written into"


def test_a_view_that_is_written_into_and_read_again_is_refused() -> None:
    def write(x: Tensor, table: Tensor) -> Tensor:
        y = x * 1
        part = y[:, :2]
        y[:, 1] = x[:, 0]
        return y.sum(1) + part.sum(1)

    with pytest.raises(UserError, match=r"in-place operators"):
        capture(Computed(write).eval(), SIZE)


def test_random_numbers_stay_where_they_are() -> None:
    """They are no constant; a network that draws some cannot be what its own graph is."""

    def noisy(x: Tensor, table: Tensor) -> Tensor:
        return x + torch.rand(4, 1, 1)

    with pytest.raises(UserError, match="does not compute what the network computes"):
        capture(Computed(noisy).eval(), SIZE)
