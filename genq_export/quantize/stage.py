"""The quantize stage: a float network and a calibration set become the fake-quant reference."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import LayerOverride, QuantizeConfig
from genq_export.core.collectives import TrainingRanks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace, write_atomic
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.files import save_reference
from genq_export.network.hooks import device_of
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize.activation_cache import ActivationCache, ActivationStore
from genq_export.quantize.algorithms.bias_correction import CORRECTION_IMAGES, correct_biases
from genq_export.quantize.algorithms.mixed_precision import assign, check_budget, options_to_measure
from genq_export.quantize.algorithms.qat import ALONE, EpochStore, train
from genq_export.quantize.algorithms.reconstruction import BlockStore, reconstruct
from genq_export.quantize.placement import Placement
from genq_export.quantize.prepare import calibrate_ranges, prepare
from genq_export.quantize.rounding_ties import avoid_ties
from genq_export.quantize.sensitivity import input_quantizers, measure, ranked
from genq_export.targets.rule import rule_for

_RANGE_IMAGES = 256
_RANGE_BATCH = 64
_SENSITIVITY_IMAGES = 64
Distributed = Callable[[QuantizeConfig], AbstractContextManager[TrainingRanks]]


def run(
    workspace: Workspace,
    config: BuildConfig,
    model: LoadedModel,
    images: list[Path],
    partial: Path,
    progress: Progress,
    distributed: Distributed = lambda _: nullcontext(ALONE),
) -> StageResult:
    """Quantize `model` on the images given; finished blocks are kept in `partial` until the stage is done.

    distributed: what QAT happens inside. Other processes are to call `help_train` then, with the settings that it is
    given and the ranks that it gives.
    Raises UserError where the network does not trace or gives numbers that are not finite.
    """
    if not images:
        raise UserError("the calibration set is empty: nothing to quantize on")
    progress.say(f"quantize: {len(images)} images, {config.quantize.grid_name}")
    cache = ActivationCache(int(config.quantize.memory_budget), partial / "cache")
    pixels = _load(images, model, cache)
    settings = config.quantize
    gm, placement, dead = _prepared(model, settings, config, pixels)
    sample = pixels.read(0, min(len(pixels), _SENSITIVITY_IMAGES)).to(device_of(gm))
    assigned: dict[str, LayerOverride] = {}
    if settings.average_bits is not None or settings.size_budget is not None:
        check_budget(gm, settings, rule_for(config.target))
        costs = measure(gm, sample, options_to_measure(gm, settings))
        assigned = assign(gm, costs, settings, rule_for(config.target))
        settings = settings.model_copy(update={"layers": {**assigned, **settings.layers}})
        gm, placement, dead = _prepared(model, settings, config, pixels)
    sensitivity = ranked(measure(gm, sample)) if settings.sensitivity or assigned else []
    errors: dict[str, dict[str, float]] = {}
    if settings.qat_method == "cascade" or settings.qat_epochs == 0:
        if settings.iterations > 0 or (settings.compensation and _coarse(gm)):
            errors = reconstruct(gm, pixels, settings, config.seed, _block_store(partial), progress, cache)
        elif settings.bias_correction:
            correct_biases(gm, pixels.read(0, min(len(pixels), CORRECTION_IMAGES)).to(device_of(gm)))
    training: dict[str, list[float]] = {}
    if settings.qat_epochs > 0:
        with distributed(settings) as ranks:
            ranks.broadcast_parameters(gm.state_dict().values())
            training = train(gm, pixels, settings, config.seed, _epoch_store(partial), progress, ranks)
    gm.cpu()
    avoid_ties(gm)
    outputs = save_reference(gm, workspace.folder)
    summary = {
        "images": len(images),
        "layers": _layers(gm),
        "quantizers": _quantizers(gm),
        "unquantized": placement.unquantized,
        "dead": dead,
        "sensitivity": sensitivity,
        "assigned_bits": {name: bits.model_dump() for name, bits in assigned.items()},
        "blocks": errors,
        "qat": training,
    }
    return StageResult(outputs, summary)


def help_train(
    config: BuildConfig,
    settings: QuantizeConfig,
    model: LoadedModel,
    images: list[Path],
    partial: Path,
    ranks: TrainingRanks,
) -> None:
    """The part of QAT that falls to a process beside the main one; nothing is written.

    settings: the build's, with the bits of each layer where they were assigned.
    """
    pixels = _load(images, model, ActivationCache(int(settings.memory_budget), partial / "cache"))
    gm, _, _ = _prepared(model, settings, config, pixels)
    ranks.broadcast_parameters(gm.state_dict().values())
    train(gm, pixels, settings, config.seed, _epoch_store(partial), Progress(quiet=True), ranks)


def _load(images: list[Path], model: LoadedModel, cache: ActivationCache) -> ActivationStore:
    """All images in the network's own preprocessing."""
    pixels = cache.rows((len(images), *model.input_size))
    for start in range(0, len(images), _RANGE_BATCH):
        pixels.write(start, load_images(images[start : start + _RANGE_BATCH], model))
    return pixels


def _prepared(
    model: LoadedModel, settings: QuantizeConfig, config: BuildConfig, pixels: ActivationStore
) -> tuple[GraphNetwork, Placement, list[str]]:
    """The network on the build's device, quantizers in place and ranges searched; where they sit; the dead tensors."""
    batches = pixels.read(0, min(len(pixels), _RANGE_IMAGES)).split(_RANGE_BATCH)
    gm, placement = prepare(model.module, model.input_size, settings, rule_for(config.target), batches)
    if config.device != "cpu":
        gm = deepcopy(gm).to(config.device)  # it may share tensors with the float network, which stays
        batches = tuple(batch.to(config.device) for batch in batches)
    percentile = settings.percentile if settings.range == "percentile" else None
    return gm, placement, calibrate_ranges(gm, batches, percentile)


def _coarse(gm: GraphNetwork) -> bool:
    """Has a layer or an activation fewer than 8 bits? With 8, moving biases does what compensation does, in no time."""
    return any(isinstance(part, QuantizedLayer | ActivationQuantizer) and part.grid.bits < 8 for part in gm.modules())


def _block_store(folder: Path) -> BlockStore:
    def path(number: int) -> Path:
        return folder / f"block_{number:03d}.safetensors"

    def load(number: int) -> dict[str, Tensor] | None:
        return load_file(path(number)) if path(number).is_file() else None

    def keep(number: int, tensors: dict[str, Tensor]) -> None:
        write_atomic(path(number), save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    return BlockStore(load, keep)


def _epoch_store(folder: Path) -> EpochStore:
    path = folder / "qat.safetensors"

    def load() -> dict[str, Tensor] | None:
        return load_file(path) if path.is_file() else None

    def keep(tensors: dict[str, Tensor]) -> None:
        write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    return EpochStore(load, keep)


def _layers(gm: GraphNetwork) -> list[dict[str, Any]]:
    rows = []
    for part, quantizer in input_quantizers(gm):
        rounded = part.codes.float() * part.weight_scale.view(-1, *([1] * (part.weight.dim() - 1)))
        noise = (rounded - part.weight).square().sum()
        rows.append(
            {
                "name": part.name,
                "op": part.op,
                "weight_bits": part.grid.bits,
                "input": quantizer.name,
                "input_bits": quantizer.grid.bits,
                "input_signed": quantizer.grid.signed,
                "input_zero_point": int(quantizer.zero_point),
                "weight_shape": list(part.weight.shape),
                "weight_sqnr_db": float(10 * torch.log10(part.weight.square().sum() / noise.clamp_min(1e-20))),
            }
        )
    return rows


def _quantizers(gm: GraphNetwork) -> list[dict[str, Any]]:
    return [
        {
            "name": part.name,
            "bits": part.grid.bits,
            "signed": part.grid.signed,
            "scale": float(part.scale),
            "zero_point": int(part.zero_point),
        }
        for part in gm.modules()
        if isinstance(part, ActivationQuantizer)
    ]
