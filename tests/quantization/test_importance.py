"""What counts at a block's output is what the answer depends on."""

from collections.abc import Callable

import torch
from torch import Tensor

from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationsInMemory
from genq_export.quantization.blocks import run_blocks, split
from genq_export.quantization.importance import importance_of
from genq_export.quantization.placement import Placement
from genq_export.tasks.score import OF_CLASSES

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


def outputs_of(gm: GraphNetwork, images: Tensor) -> tuple[list[Tensor], int]:
    """What every block gives in float."""
    blocks, x, found = split(gm), images, []
    set_quantization(gm, False)
    with torch.no_grad():
        for block in blocks:
            x = block.module(x)
            found.append(x)
    set_quantization(gm, True)
    return found, len(blocks)


def test_it_has_a_mean_of_one_repeats_and_leaves_the_network_quantized(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("residual")
    blocks, (outputs, count) = split(gm), outputs_of(gm, images)
    with torch.no_grad():
        before = gm(images)
    first, again, other = (
        importance_of(ActivationsInMemory(outputs[0]), blocks[1:], OF_CLASSES, seed) for seed in (1, 1, 2)
    )
    assert first is not None and again is not None and other is not None
    assert first.shape == outputs[0].shape[1:] and abs(float(first.mean()) - 1) < 1e-5
    assert float(first.min()) >= 0 and torch.equal(first, again) and not torch.equal(first, other)
    with torch.no_grad():
        assert torch.equal(gm(images), before)
    assert importance_of(ActivationsInMemory(outputs[-1]), blocks[count:], OF_CLASSES, 1) is None


def test_a_channel_that_no_layer_behind_reads_counts_nothing(prepared: Prepared, images: Tensor) -> None:
    gm, _ = prepared("residual")
    blocks, (outputs, _) = split(gm), outputs_of(gm, images)
    target = outputs[-2]
    last = [part for part in blocks[-1].module.modules() if isinstance(part, QuantizedLayer)][-1]
    last.weight.view(len(last.weight), -1)[:, 0] = 0
    found = importance_of(ActivationsInMemory(target), blocks[-1:], OF_CLASSES, 0)
    assert found is not None
    counts = found.flatten(1).sum(1) if found.ndim == 3 else found
    assert float(counts[0]) == 0 and float(counts[1:].min()) > 0


def test_errors_weighted_by_it_tell_the_divergence_better_than_plain_ones(prepared: Prepared, images: Tensor) -> None:
    """Noise of one power at each place: its cost follows the weight of the place."""
    gm, _ = prepared("residual")
    blocks, (outputs, _) = split(gm), outputs_of(gm, images)
    target, behind = outputs[0], blocks[1:]
    weights = importance_of(ActivationsInMemory(target), behind, OF_CLASSES, 0)
    assert weights is not None
    set_quantization(gm, False)
    channels = weights.flatten(1).mean(1)
    order = channels.argsort()
    costs = []
    with torch.no_grad():
        float_answer = run_blocks(behind, target)
        assert isinstance(float_answer, Tensor)
        for channel in (int(order[0]), int(order[-1])):
            moved = target.clone()
            noise = torch.randn(target[:, channel].shape, generator=torch.Generator().manual_seed(0))
            moved[:, channel] += 0.05 * noise
            answer = run_blocks(behind, moved)
            assert isinstance(answer, Tensor)
            p = float_answer.log_softmax(1)
            costs.append(float((p.exp() * (p - answer.log_softmax(1))).sum(1).mean()))
    set_quantization(gm, True)
    assert costs[1] > costs[0]
