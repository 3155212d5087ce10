"""A block in which several tensors are alive everywhere is cut where the fewest numbers cross."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.progress import Progress
from genq_export.quantization.blocks import Block, run_blocks, split
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.large_blocks import MOST_LAYERS
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from tests.networks import SIZE, noise


class Branches(nn.Module):
    """Two resolutions side by side to the end, the coarse one twice as long, which repeats a token for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.fine = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(12))
        self.coarse = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(24))
        self.token = nn.Parameter(torch.randn(1, 4))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        images = x.shape[0]
        x = self.stem(x)
        fine, coarse = torch.relu(x), torch.max_pool2d(x, 4)
        for number, layer in enumerate(self.fine):
            fine = torch.relu(layer(fine))
            for other in self.coarse[2 * number : 2 * number + 2]:
                coarse = torch.relu(other(coarse))
        joined = torch.cat([fine.mean((2, 3)), coarse.mean((2, 3)), self.token.expand(images, -1)], 1)
        logits: Tensor = self.head(joined)
        return logits


class Dense(nn.Module):
    """Every layer reads all that was computed before, behind a BatchNorm: a DenseNet's block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 2 * number) for number in range(44))
        self.layers = nn.ModuleList(nn.Conv2d(4 + 2 * number, 2, 3, padding=1) for number in range(44))
        self.norm = nn.BatchNorm2d(92)
        self.head = nn.Linear(92, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            features.append(layer(torch.relu(norm(torch.cat(features, 1)))))
        logits: Tensor = self.head(torch.relu(self.norm(torch.cat(features, 1))).mean((2, 3)))
        return logits


@pytest.mark.parametrize(("make", "hands_on"), [(Branches, False), (Dense, True)])
def test_no_block_is_larger_than_it_has_to_be(make: Callable[[], nn.Module], hands_on: bool) -> None:
    torch.manual_seed(0)
    config = QuantizeConfig.model_validate({"reconstruction": {"iterations": 2}, "batch_size": 2})
    network, _ = prepare(make().eval().requires_grad_(False), SIZE, config, rule_for("onnxruntime"))
    images = noise()[:4]
    calibrate_ranges(network, [images])
    blocks = split(network)
    with torch.no_grad():
        assert torch.equal(run_blocks(blocks, images), network(images))
    assert max(len(block.layers()) for block in blocks) <= MOST_LAYERS
    assert len({block.name for block in blocks}) == len(blocks)
    assert _repeated(blocks) == []
    assert any(block.own is not None for block in blocks)
    assert _is_handed_on(blocks, images) == hands_on

    errors = reconstruct(network, images, config, 0, BlockStore(lambda _: None, lambda *_: None), Progress(quiet=True))
    assert errors.keys() == {block.name for block in blocks}
    assert all(error.after <= 2 * error.before for error in errors.values())


def _repeated(blocks: list[Block]) -> list[str]:
    """Layers and quantizers that stand in two blocks."""
    names = [part.name for block in blocks for part in (*block.layers(), *block.quantizers())]
    return [name for name in set(names) if names.count(name) > len({"layer", "quantizer"})]


def _is_handed_on(blocks: list[Block], images: Tensor) -> bool:
    """Are there tensors that pass a block by? Behind what it computed itself there is nothing but these."""
    x, seen = images, False
    for block in blocks:
        given = x.flatten(1)
        with torch.no_grad():
            x = block.module(x)
        if block.own is not None:
            handed_on = x[:, block.own :]
            seen = seen or handed_on.shape[1] > 0
            assert all(_is_part(row, source) for row, source in zip(handed_on[:, :4], given, strict=True))
    return seen


def _is_part(numbers: Tensor, row: Tensor) -> bool:
    return bool((row.unfold(0, len(numbers), 1) == numbers).all(1).any())
