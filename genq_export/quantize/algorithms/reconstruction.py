"""PTQ by block reconstruction: block after block, make the quantized block answer as the float block does.

The input of a block comes from the quantized blocks before it (mixed with the float input, QDrop), the target from the
float network. Loss: sum over channels and mean over the rest of ||y_q - y||^2, plus lambda * sum(1 - |2h - 1|^beta)
with beta from 20 to 2 after a warm-up of 20 % without it (AdaRound, BRECQ; QDrop for the dropped quantization).
Learning begins from the codes that compensation.py finds in closed form; without steps it ends there, too. A block that
learning leaves with far more error on the images than it began with goes back to where it began.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.network.hooks import device_of, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize.activation_cache import ActivationCache, ActivationsInMemory, ActivationStore
from genq_export.quantize.algorithms.adaround import SoftRounding
from genq_export.quantize.algorithms.autograd import mix, squared_error
from genq_export.quantize.algorithms.gptq import compensate
from genq_export.quantize.algorithms.lsq import scale_learners
from genq_export.quantize.blocks import Block, split

WARM_UP = 0.2
BETA_START, BETA_END = 20.0, 2.0
POW2_RATE = 4.0
INIT_MARGIN = 0.5  # steps between soft weights and codes at first, at most
# [ours] Dropped quantization costs some error on the images and gains more on others: fashion_mobilenet W2A4 ends at
# 0.068 nats on real images with this limit, at 0.075 without any, at 0.090 where no more error is allowed.
MAX_ERROR_GROWTH = 2.0
RATED_STEPS = 1000  # for which the rates of `QuantizeConfig` are meant
_CACHE_BATCH = 32  # activations of a block stay in the cache
_EVERYTHING = 2**62


@dataclass(frozen=True)
class BlockStore:
    """Where finished blocks are kept, so that a killed run goes on at the block it was in.

    load: block number -> tensors by name, or None. save: block number and tensors.
    """

    load: Callable[[int], dict[str, Tensor] | None]
    save: Callable[[int, dict[str, Tensor]], None]


def reconstruct(
    gm: GraphNetwork,
    images: Tensor | ActivationStore,
    config: QuantizeConfig,
    seed: int,
    store: BlockStore,
    progress: Progress,
    cache: ActivationCache | None = None,
) -> dict[str, dict[str, float]]:
    """Learn rounding and scales of every block of a prepared and range-calibrated graph.

    Computes where the graph is; images, inputs and targets stay on the CPU, and random numbers are drawn there.
    images: float32 [N, C, H, W]. cache: where inputs and targets of blocks are kept; None: in memory. It changes no
    bit of the result. Returns by block the mean squared error before and after.
    Each block draws from its own generator, seeded by `seed` and its number, so a resumed run equals an uninterrupted.
    """
    cache = cache or ActivationCache(_EVERYTHING, Path())
    blocks = split(gm)
    pixels = ActivationsInMemory(images) if isinstance(images, Tensor) else images
    float_input, quantized_input = pixels, pixels
    errors: dict[str, dict[str, float]] = {}
    for number, block in enumerate(progress.track(blocks, len(blocks), "reconstruct blocks")):
        target = _keep_outputs(block, float_input, False, cache)
        state = store.load(number)
        if state is None:
            before = _error_now(block, quantized_input, target)
            if config.compensation:
                compensate(block, float_input, quantized_input)
            if config.iterations > 0:
                _learn_or_restore(block, float_input, quantized_input, target, config, seed * 10007 + number)
            store.save(number, {**_tensors(block), "error_before": torch.tensor(before)})
            state = {"error_before": torch.tensor(before)}
        else:
            _load(block, state)
        quantized_output = _keep_outputs(block, quantized_input, True, cache)
        errors[block.name] = {"before": float(state["error_before"]), "after": _error(quantized_output, target)}
        before, after = errors[block.name]["before"], errors[block.name]["after"]
        progress.detail(f"  {block.name}: error {before:.3g} -> {after:.3g}")
        for rows in (float_input, quantized_input):
            if rows is not pixels:
                cache.release(rows)
        float_input, quantized_input = target, quantized_output
    for rows in (float_input, quantized_input):
        cache.release(rows)
    return errors


def _learn_or_restore(
    block: Block,
    float_input: ActivationStore,
    quantized_input: ActivationStore,
    target: ActivationStore,
    config: QuantizeConfig,
    seed: int,
) -> None:
    """Learn, and undo it where the error grew beyond `MAX_ERROR_GROWTH` times: few steps can end far from where they
    began.
    """
    begun = {name: tensor.clone() for name, tensor in _tensors(block).items()}
    error = _error_now(block, quantized_input, target)
    _learn(block, float_input, quantized_input, target, config, seed)
    if _error_now(block, quantized_input, target) > MAX_ERROR_GROWTH * error:
        _load(block, begun)


def _learn(
    block: Block,
    float_input: ActivationStore,
    quantized_input: ActivationStore,
    target: ActivationStore,
    config: QuantizeConfig,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # [ours] Biases and later layers fit compensated codes, not the float weights; larger steps have to begin nearer.
    init_margin = INIT_MARGIN / lr_scale(config.iterations) if config.compensation else INIT_MARGIN
    roundings = [SoftRounding(layer, init_margin) for layer in block.layers()]
    scales = scale_learners(block.quantizers(), config.drop_probability, generator)
    if not roundings:
        return
    optimizer = torch.optim.Adam(
        [
            {"params": [part.v for part in roundings], "lr": config.rounding_lr * lr_scale(config.iterations)},
            {"params": [part.log_scale for part in roundings], "lr": config.weight_scale_lr},
            {"params": [part.log_scale for part in dict.fromkeys(scales.values())], "lr": _activation_rate(config)},
        ],
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [_constant, _cosine(config), _cosine(config)])
    for layer, rounding in zip(block.layers(), roundings, strict=True):
        layer.learner = rounding
    for quantizer, scale in scales.items():
        quantizer.learner = scale
    device = device_of(block.module)
    for step in range(config.iterations):
        chosen = torch.randint(len(target), (config.batch_size,), generator=generator)
        mixed = _mixed(quantized_input, float_input, chosen, config.drop_probability, generator)
        found = block.module(mixed.to(device))
        loss = squared_error(found, *_moved(target.gather(chosen), device)) * (found.shape[1] / found.numel())
        beta = beta_at(step / config.iterations)
        if beta is not None:
            loss = loss + config.rounding_weight * sum(part.regulariser(beta) for part in roundings)
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


def _activation_rate(config: QuantizeConfig) -> float:
    """A power of two changes only where its exponent has come half way to the next: that takes larger steps."""
    return config.activation_lr * lr_scale(config.iterations) * (POW2_RATE if config.scales == "pow2" else 1.0)


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


def _cosine(config: QuantizeConfig) -> Callable[[int], float]:
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / config.iterations, 1.0)))


def _mixed(
    first: ActivationStore, second: ActivationStore, chosen: Tensor, drop: float, generator: torch.Generator
) -> Tensor:
    """The rows chosen, element by element from the one or, with probability `drop`, the other."""
    (a, a_rows), (b, b_rows) = first.gather(chosen), second.gather(chosen)
    if not torch.equal(a_rows, b_rows):  # one in memory, one on disk
        a, b, a_rows = a[a_rows], b[b_rows], torch.arange(len(chosen))
    return mix(a, b, a_rows, drop, generator)


def _moved(picked: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """What `ActivationStore.gather` gave, on a device: of a large tensor only the rows chosen travel."""
    values, rows = picked
    return picked if device.type == "cpu" else (values[rows].to(device), torch.arange(len(rows)))


def _answer(block: Block, x: Tensor, quantized: bool) -> Tensor:
    """What the block gives, on the CPU."""
    set_quantization(block.module, quantized)
    try:
        with torch.no_grad():
            answer: Tensor = block.module(x.to(device_of(block.module)))
            return answer.cpu()
    finally:
        set_quantization(block.module, True)


def _keep_outputs(block: Block, source: ActivationStore, quantized: bool, cache: ActivationCache) -> ActivationStore:
    """What the block gives for every row; raises UserError where that is not finite."""
    kept: ActivationStore | None = None
    for start, stop in _batches(len(source)):
        answer = _answer(block, source.read(start, stop), quantized)
        if not torch.isfinite(answer).all():
            kind = "quantized" if quantized else "float"
            raise UserError(f"block '{block.name}' of the {kind} network gives NaN or infinity on calibration images")
        kept = cache.rows((len(source), *answer.shape[1:])) if kept is None else kept
        kept.write(start, answer)
    assert kept is not None
    return kept


def _error_now(block: Block, source: ActivationStore, target: ActivationStore) -> float:
    """Mean squared error of the quantized block as it is."""
    pairs = ((_answer(block, source.read(*part), True), target.read(*part)) for part in _batches(len(source)))
    return sum(_squares(found, wanted) for found, wanted in pairs) / math.prod(target.shape)


def _error(found: ActivationStore, target: ActivationStore) -> float:
    pairs = ((found.read(*part), target.read(*part)) for part in _batches(len(target)))
    return sum(_squares(a, b) for a, b in pairs) / math.prod(target.shape)


def _squares(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().sum(dtype=torch.float64))


def _batches(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + _CACHE_BATCH, count)) for start in range(0, count, _CACHE_BATCH)]


def _tensors(block: Block) -> dict[str, Tensor]:
    """What reconstruction changes in a block, by name."""
    tensors = {}
    for layer in block.layers():
        tensors[f"layers.{layer.name}.codes"] = layer.codes
        tensors[f"layers.{layer.name}.weight_scale"] = layer.weight_scale
        tensors[f"layers.{layer.name}.bias"] = layer.bias
    for quantizer in block.quantizers():
        tensors[f"quantizers.{quantizer.name}.scale"] = quantizer.scale
    return tensors


def _load(block: Block, state: dict[str, Tensor]) -> None:
    for name, tensor in _tensors(block).items():
        tensor.copy_(state[name])
