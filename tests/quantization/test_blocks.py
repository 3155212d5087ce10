"""Blocks: run one after the other they are the network, and no residual block is cut."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import part_name
from genq_export.quantization.blocks import run_blocks, split
from genq_export.quantization.placement import Placement

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


@pytest.mark.parametrize("name", ["residual", "gated", "attention"])
def test_blocks_in_a_row_are_the_network(prepared: Prepared, images: Tensor, name: str) -> None:
    gm, _ = prepared(name)
    blocks = split(gm)
    with torch.no_grad():
        assert torch.equal(run_blocks(blocks, images), gm(images))
    names = [part.name for block in blocks for part in block.layers()]
    assert len(names) == len(set(names)) and all(block.layers() for block in blocks)
    assert len({block.name for block in blocks}) == len(blocks)


def test_a_residual_block_is_never_cut(prepared: Prepared) -> None:
    for block in split(prepared("residual")[0]):
        names = {part.name for part in block.layers()}
        assert "depthwise" not in names or "dilated" in names


def test_blocks_share_their_modules_with_the_network(prepared: Prepared) -> None:
    gm, _ = prepared("residual")
    part = split(gm)[0].layers()[0]
    assert part is gm.get_submodule(part_name("layer", part.name))
