"""Learned rounding and learned scales of a block, by gradient descent on what the block answers.

The input comes from the quantized blocks before it, mixed with the float input (QDrop), the target from the float
network. Loss: sum over channels and mean over the rest of ||y_q - y||^2, plus lambda * sum(1 - |2h - 1|^beta) with beta
from 20 to 2 after a warm-up of 20 % without it (AdaRound, arXiv 2004.10568; BRECQ, arXiv 2102.05426; QDrop, arXiv
2203.05740, for the dropped quantization). A block that learning leaves with far more error on the images than it began
with goes back to where it began.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.hooks import device_of
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.algorithms.adaround import SoftRounding
from genq_export.quantization.algorithms.autograd import mix, squared_error
from genq_export.quantization.algorithms.lsq import ScaleLearner, scale_learners
from genq_export.quantization.blocks import Block
from genq_export.quantization.blockwise import block_error, restore, state_of
from genq_export.quantization.method import BlockImages, BlockMethod

WARM_UP = 0.2
BETA_START, BETA_END = 20.0, 2.0
POW2_RATE = 4.0
INIT_MARGIN = 0.5  # steps between soft weights and codes at first, at most
# [ours] Dropped quantization costs some error on the images and gains more on others: fashion_mobilenet W2A4 ends at
# 0.068 nats on real images with this limit, at 0.075 without any, at 0.090 where no more error is allowed.
MAX_ERROR_GROWTH = 2.0
RATED_STEPS = 1000  # for which the rates of `ReconstructionConfig` are meant


class Reconstruction(BlockMethod):
    """Learn rounding and scales from where the block is, and undo it where the error grew too far."""

    name = "reconstruction"

    def applies(self, graph: GraphNetwork, settings: QuantizeConfig) -> bool:
        """Unless training starts from a network that was only rounded."""
        return not settings.trains_from_rounded

    def apply(self, block: Block, images: BlockImages, settings: QuantizeConfig, seed: int) -> None:
        """Learn; few steps can end far from where they began, more than `MAX_ERROR_GROWTH` times the error."""
        begun = {name: tensor.clone() for name, tensor in state_of(block).items()}
        error = block_error(block, images)
        learn(block, images, settings, seed)
        if block_error(block, images) > MAX_ERROR_GROWTH * error:
            restore(block, begun)


RECONSTRUCTION = Reconstruction()


def learn(block: Block, images: BlockImages, config: QuantizeConfig, seed: int) -> None:
    """Learn codes, weight scales and activation scales of a block, and write them into it.

    Args:
        block: where learning begins.
        images: what the block is given and is to answer.
        config: steps, batch size and rates.
        seed: of the images chosen and of what is dropped.
    """
    settings = config.reconstruction
    generator = torch.Generator().manual_seed(seed)
    roundings = [SoftRounding(layer, _init_margin(config)) for layer in block.layers()]
    scales = scale_learners(block.quantizers(), settings.drop_probability, generator)
    if not roundings:
        return
    optimizer = _optimizer(roundings, list(dict.fromkeys(scales.values())), config)
    cosine = _cosine(settings.iterations)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [_constant, cosine, cosine])
    for layer, rounding in zip(block.layers(), roundings, strict=True):
        layer.learner = rounding
    for quantizer, scale in scales.items():
        quantizer.learner = scale
    for step in range(settings.iterations):
        loss = _loss(block, images, config, roundings, beta_at(step / settings.iterations), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    for layer, rounding in zip(block.layers(), roundings, strict=True):
        layer.learner = None
        rounding.commit(layer)
    for quantizer, scale in scales.items():
        quantizer.learner = None
        scale.commit(quantizer)


def _optimizer(
    roundings: list[SoftRounding], scales: list[ScaleLearner], config: QuantizeConfig
) -> torch.optim.Optimizer:
    """Adam over rounding, weight scales and activation scales, a group each."""
    settings = config.reconstruction
    groups = [
        {"params": [part.v for part in roundings], "lr": settings.rounding_lr * lr_scale(settings.iterations)},
        {"params": [part.log_scale for part in roundings], "lr": settings.weight_scale_lr},
        {"params": [part.log_scale for part in scales], "lr": _activation_rate(config)},
    ]
    return torch.optim.Adam(groups, fused=True)


def _loss(
    block: Block,
    images: BlockImages,
    config: QuantizeConfig,
    roundings: list[SoftRounding],
    beta: float | None,
    generator: torch.Generator,
) -> Tensor:
    """The loss of one batch, scalar; beta: of the regulariser, None during the warm-up."""
    settings, device = config.reconstruction, device_of(block.module)
    chosen = torch.randint(len(images.target), (config.batch_size,), generator=generator)
    mixed = _mixed(images.quantized_input, images.float_input, chosen, settings.drop_probability, generator)
    found = block.computed(block.module(mixed.to(device)))
    target, rows = _moved(images.target.gather(chosen), device)
    loss: Tensor = squared_error(found, block.computed(target), rows) * (block.channels(found) / found.numel())
    if beta is not None:
        loss = loss + settings.rounding_weight * sum(part.regulariser(beta) for part in roundings)
    return loss


def _init_margin(config: QuantizeConfig) -> float:
    """Steps between soft weights and codes at first, at most.

    [ours] Biases and later layers fit GPTQ's codes, not the float weights; larger steps have to begin nearer.
    """
    return INIT_MARGIN / lr_scale(config.reconstruction.iterations) if config.uses("gptq") else INIT_MARGIN


def _activation_rate(config: QuantizeConfig) -> float:
    """A power of two changes only where its exponent has come half way to the next: that takes larger steps."""
    settings = config.reconstruction
    return settings.activation_lr * lr_scale(settings.iterations) * (POW2_RATE if config.scales == "pow2" else 1.0)


def lr_scale(iterations: int) -> float:
    """What the rates of rounding and activation scales are multiplied by: few steps have to be larger ones.

    [ours] By the root of how many fewer than 1,000 they are, as steps that Adam takes to and fro add up by the root.
    """
    return max(1.0, math.sqrt(RATED_STEPS / iterations))


def beta_at(share: float) -> float | None:
    """beta of the rounding regulariser after `share` of the steps; None during the warm-up."""
    if share < WARM_UP:
        return None
    return BETA_END + (BETA_START - BETA_END) * (1 - (share - WARM_UP) / (1 - WARM_UP))


def _constant(_step: int) -> float:
    return 1.0


def _cosine(iterations: int) -> Callable[[int], float]:
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / iterations, 1.0)))


def _mixed(
    first: ActivationStore, second: ActivationStore, chosen: Tensor, drop: float, generator: torch.Generator
) -> Tensor:
    """The rows chosen, element by element from the one or, with probability `drop`, the other."""
    (a, a_rows), (b, b_rows) = first.gather(chosen), second.gather(chosen)
    if not torch.equal(a_rows, b_rows):  # one in memory, one on disk
        a, b, a_rows = a[a_rows], b[b_rows], torch.arange(len(chosen))
    return mix(a, b, a_rows, drop, generator)


def _moved(gathered: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """What `ActivationStore.gather` gave, on a device: of a large tensor only the rows chosen travel."""
    values, rows = gathered
    return gathered if device.type == "cpu" else (values[rows].to(device), torch.arange(len(rows)))
