"""PTQ block by block: make each quantized block answer as the float block does, then go on to the next.

The input of a block comes from the quantized blocks before it, the target from the float network. What is done to a
block are the methods for blocks that a build uses (`method.BlockMethod`), in their order: by default GPTQ's rounding in
closed form, from whose codes AdaRound and LSQ learn on. Without learning it ends at GPTQ's codes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import write_atomic
from genq_export.network.hooks import device_of, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationCache, ActivationsInMemory, ActivationStore, batches
from genq_export.quantization.blocks import Block, split
from genq_export.quantization.importance import importance_of
from genq_export.quantization.method import BlockImages, BlockMethod, block_methods_of
from genq_export.quantization.summary import BlockError
from genq_export.tasks.score import OF_CLASSES, Score

_TOKENS = 3  # axes of [images, tokens, channels]
_EVERYTHING = 2**62


@dataclass(frozen=True)
class BlockStore:
    """Where finished blocks are kept, so that a killed run goes on at the block it was in.

    Attributes:
        load: block number -> tensors by name, or None.
        save: takes block number and tensors.
    """

    load: Callable[[int], dict[str, Tensor] | None]
    save: Callable[[int, dict[str, Tensor]], None]

    @classmethod
    def in_folder(cls, folder: Path) -> "BlockStore":
        """One safetensors file a block."""

        def path(number: int) -> Path:
            return folder / f"block_{number:03d}.safetensors"

        def load(number: int) -> dict[str, Tensor] | None:
            return load_file(path(number)) if path(number).is_file() else None

        def keep(number: int, tensors: dict[str, Tensor]) -> None:
            write_atomic(path(number), save({name: tensor.contiguous() for name, tensor in tensors.items()}))

        return cls(load, keep)


def reconstruct(
    gm: GraphNetwork,
    images: Tensor | ActivationStore,
    config: QuantizeConfig,
    seed: int,
    store: BlockStore,
    progress: Progress,
    cache: ActivationCache | None = None,
    score: Score = OF_CLASSES,
) -> dict[str, BlockError]:
    """Apply the methods for blocks that `config` uses to every block of a prepared graph, in place.

    Computes where the graph is; images, inputs and targets stay on the CPU, and random numbers are drawn there. Each
    block draws from its own generator, seeded by `seed` and its number, so a resumed run equals an uninterrupted one.

    Args:
        gm: prepared, with ranges searched.
        images: float32 [N, C, H, W].
        config: methods and their settings.
        seed: decides every random draw.
        store: finished blocks of an earlier run are taken from there, and kept there.
        progress: where it tells how far it is.
        cache: where inputs and targets of blocks are kept; None: in memory. It changes no bit of the result.
        score: of an answer; what counts in a block is what it says counts in the answer.

    Returns:
        The errors by block; empty where no method has anything to do.

    Raises:
        UserError: where a block gives numbers that are not finite.
    """
    methods = block_methods_of(config, gm)
    if not methods:
        return {}
    cache = cache or ActivationCache(_EVERYTHING, Path())
    blocks = split(gm)
    pixels = ActivationsInMemory(images) if isinstance(images, Tensor) else images
    float_input, quantized_input = pixels, pixels
    errors: dict[str, BlockError] = {}
    for number, block in enumerate(progress.track(blocks, len(blocks), "reconstruct blocks")):
        given = BlockImages(float_input, quantized_input, _keep_outputs(block, float_input, False, cache))
        state = store.load(number)
        if state is None:
            own_seed = seed * 10007 + number
            if _is_weighted(block, given, config):
                given = replace(given, importance=importance_of(given.target, blocks[number + 1 :], score, own_seed))
            before = _improve(block, given, methods, config, own_seed)
            store.save(number, {**state_of(block), "error_before": torch.tensor(before)})
            state = {"error_before": torch.tensor(before)}
        else:
            restore(block, state)
        quantized_output = _keep_outputs(block, quantized_input, True, cache)
        error = BlockError(before=float(state["error_before"]), after=_error(block, quantized_output, given.target))
        errors[block.name] = error
        progress.detail(f"  {block.name}: error {error.before:.3g} -> {error.after:.3g}")
        for rows in (float_input, quantized_input):
            if rows is not pixels:
                cache.release(rows)
        float_input, quantized_input = given.target, quantized_output
    for rows in (float_input, quantized_input):
        cache.release(rows)
    return errors


def _is_weighted(block: Block, given: BlockImages, config: QuantizeConfig) -> bool:
    """Does what is learned in the block make weighted errors small?

    [ours] Weights are means over the calibration images. Of tokens they hold on other images: fashion_vit W4A4 diverges
    by 0.028 with them, by 0.037 without. Of the maps of convolutional networks they do not (docs/learning-time.md).
    """
    loss = config.reconstruction.loss
    is_tokens = block.own is None and len(given.target.shape) == _TOKENS
    learns = config.uses("reconstruction") and not config.trains_from_rounded
    return learns and (loss == "fisher" or (loss == "auto" and is_tokens))


def _improve(block: Block, images: BlockImages, methods: list[BlockMethod], config: QuantizeConfig, seed: int) -> float:
    """Apply the methods to one block; returns its error before."""
    before = block_error(block, images)
    for method in methods:
        method.apply(block, images, config, seed)
    return before


def block_error(block: Block, images: BlockImages) -> float:
    """Mean squared error of the quantized block as it is."""
    source, target = images.quantized_input, images.target
    pairs = ((_answer(block, source.read(*part), True), target.read(*part)) for part in batches(len(source)))
    return _mean_square(block, pairs)


def state_of(block: Block) -> dict[str, Tensor]:
    """What methods change in a block, by name; the tensors themselves."""
    tensors = {}
    for layer in block.layers():
        tensors[f"layers.{layer.name}.codes"] = layer.codes
        tensors[f"layers.{layer.name}.weight_scale"] = layer.weight_scale
        tensors[f"layers.{layer.name}.bias"] = layer.bias
    for quantizer in block.quantizers():
        tensors[f"quantizers.{quantizer.name}.scale"] = quantizer.scale
    return tensors


def restore(block: Block, state: dict[str, Tensor]) -> None:
    """Put a state back that `state_of` gave."""
    for name, tensor in state_of(block).items():
        tensor.copy_(state[name])


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
    """What the block gives for every row. Raises UserError where that is not finite."""

    def answer(x: Tensor) -> Tensor:
        found = _answer(block, x, quantized)
        if not torch.isfinite(found).all():
            kind = "quantized" if quantized else "float"
            raise UserError(f"block '{block.name}' of the {kind} network gives NaN or infinity on calibration images")
        return found

    return cache.computed(source, answer)


def _error(block: Block, found: ActivationStore, target: ActivationStore) -> float:
    return _mean_square(block, ((found.read(*part), target.read(*part)) for part in batches(len(target))))


def _mean_square(block: Block, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Of the differences in what the block computed itself."""
    total, count = 0.0, 0
    for found, wanted in pairs:
        difference = block.computed(found) - block.computed(wanted)
        total += float(difference.square().sum(dtype=torch.float64))
        count += difference.numel()
    return total / count
