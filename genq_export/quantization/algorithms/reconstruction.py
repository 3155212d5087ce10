"""Learned rounding and learned scales of a block, by gradient descent on what the block answers.

The input comes from the quantized blocks before it, mixed with the float input (QDrop), the target from the float
network. Loss: sum over channels and mean over the rest of w (y_q - y)^2, w being 1 or the importance of the number for
the network's answers (`importance.py`), plus lambda * sum(1 - |2h - 1|^beta) with beta from 20 to 2 after a warm-up of
20 % without it (AdaRound, arXiv 2004.10568; BRECQ, arXiv 2102.05426; QDrop, arXiv 2203.05740, for the dropped
quantization). A block that learning leaves with far more error on the images than it began with goes back to where it
began.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import refuse
from genq_export.network.hooks import device_of
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import Part
from genq_export.quantization.algorithms.adaround import SoftRounding
from genq_export.quantization.algorithms.autograd import mix, squared_error
from genq_export.quantization.algorithms.cosine import cosine
from genq_export.quantization.algorithms.lsq import ScaleLearner, scale_learners
from genq_export.quantization.blocks import Block
from genq_export.quantization.blockwise import block_error, restore, state_of
from genq_export.quantization.method import BlockImages, BlockMethod
from genq_export.quantization.windows import Windows

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

    def problems(self, floats: fx.Graph, settings: QuantizeConfig, device: torch.device) -> list[str]:
        """Is bfloat16 asked for where the device does not compute with it?"""
        if settings.reconstruction.precision != "bfloat16" or computes_in_bfloat16(device):
            return []
        return [
            "quantize.reconstruction.precision=bfloat16: this machine has no instructions for it (AVX-512 BF16, AMX or"
            " a GPU's), and it would be slower: leave it at float32"
        ]

    def applies(self, graph: GraphNetwork, settings: QuantizeConfig) -> bool:
        """Unless training starts from a network that was only rounded.

        Raises:
            UserError: for `problems`.
        """
        refuse(self.problems(graph.graph, settings, device_of(graph)))
        return not settings.trains_from_rounded

    def apply(self, block: Block, images: BlockImages, settings: QuantizeConfig, seed: int) -> None:
        """Learn; few steps can end far from where they began, more than `MAX_ERROR_GROWTH` times the error."""
        begun = {name: tensor.clone() for name, tensor in state_of(block).items()}
        error = block_error(block, images)
        learn(block, images, settings, seed)
        if block_error(block, images) > MAX_ERROR_GROWTH * error:
            restore(block, begun)


RECONSTRUCTION = Reconstruction()


def computes_in_bfloat16(device: torch.device, capabilities: Mapping[str, object] | None = None) -> bool:
    """Has a device instructions for it? capabilities: of the CPU, by name; None: of this one."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return any(present for name, present in found.items() if "bf16" in name)


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
    falling = cosine(settings.iterations)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [_constant, falling, falling])
    for layer, rounding in zip(block.layers(), roundings, strict=True):
        layer.learner = rounding
    for quantizer, scale in scales.items():
        quantizer.learner = scale
    windows = Windows.of(block, images.quantized_input.shape, images.target.shape, settings.window)
    for step in range(settings.iterations):
        batch = _batch(images, windows, config, generator)
        loss = _loss(block, batch, config, roundings, beta_at(step / settings.iterations))
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


@dataclass(frozen=True)
class Batch:
    """What one step learns from: the block's input [B, ...], and of each image the target and the part it is for.

    importance: of each image's target, in its shape; None: all numbers count alike.
    """

    given: Tensor
    target: list[Tensor]
    parts: list[Part]
    importance: list[Tensor] | None


def _batch(images: BlockImages, windows: Windows | None, config: QuantizeConfig, generator: torch.Generator) -> Batch:
    """Of random images, windows of them where the block allows it; inputs are mixed element by element (QDrop)."""
    chosen = torch.randint(len(images.target), (config.batch_size,), generator=generator)
    drawn = None if windows is None else windows.draw(len(chosen), generator)
    given = None if drawn is None else [window.given for window in drawn]
    quantized, floats = (store.parts(chosen, given) for store in (images.quantized_input, images.float_input))
    wanted = [_all] * len(chosen) if drawn is None else [window.wanted for window in drawn]
    return Batch(
        mix(quantized, floats, config.reconstruction.drop_probability, generator),
        images.target.parts(chosen, None if drawn is None else wanted),
        [_all] * len(chosen) if drawn is None else [window.judged for window in drawn],
        None if images.importance is None else [part(images.importance) for part in wanted],
    )


def _all(values: Tensor) -> Tensor:
    return values


def _loss(
    block: Block, batch: Batch, config: QuantizeConfig, roundings: list[SoftRounding], beta: float | None
) -> Tensor:
    """The loss of one batch, scalar; beta: of the regulariser, None during the warm-up."""
    settings, device = config.reconstruction, device_of(block.module)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        answer = block.module(batch.given.to(device))
    found = block.computed(answer).float()
    wanted = [block.computed(target[None])[0].to(device) for target in batch.target]
    weights = None if batch.importance is None else [block.computed(w[None])[0].to(device) for w in batch.importance]
    numbers = sum(target.numel() for target in wanted)
    loss: Tensor = squared_error(found, wanted, batch.parts, weights) * (block.channels(found) / numbers)
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
