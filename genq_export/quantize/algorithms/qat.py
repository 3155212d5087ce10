"""QAT as GenQ's cascade: start from the PTQ solution, freeze its rounding, and learn small corrections end to end.

    W_q = s * clip(q_ptq + round_STE(u / s), lo, hi),  u_0 = 0

with q_ptq the codes that block reconstruction found. Weight and activation scales learn as in LSQ (autograd through the
expression above gives round(v/s) - v/s inside the range). The loss is KL divergence to the float network ([ours]: the
paper's loss is unknown), so no label is needed. The epoch with the least KL on held-out calibration images is kept;
epoch 0, the PTQ solution itself, competes, so QAT cannot make a network worse on them.

The first blocks stay as PTQ made them (`qat_frozen_share`, [ours]). An even background is one number in every channel,
and every such number one code: a scale or weight that moves by a hair moves it across a border for all pixels at once,
which the straight-through gradient does not see. On fashion_resnet at W4A4 it has the wrong sign for all three scales
of the stem, by finite differences, and training everything makes answers on real images worse (docs/benchmarks.md).

For comparison there is plain LSQ, from a network that was only rounded, with latent float weights w:

    W_q = s * clip(round_STE(w / s), lo, hi)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.collectives import TrainingRanks
from genq_export.core.progress import Progress
from genq_export.network import grid
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.hooks import device_of, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantize.activation_cache import ActivationsInMemory, ActivationStore
from genq_export.quantize.algorithms.lsq import round_ste, scale_learners
from genq_export.quantize.blocks import Block, split
from genq_export.quantize.divergence import kl_divergence

HELD_OUT_SHARE = 0.125
EMA_DECAY = 0.99
ALONE = TrainingRanks()


@dataclass(frozen=True)
class EpochStore:
    """Where the state after an epoch is kept, so that a killed run goes on at the epoch it was in.

    load: tensors by name of the last finished epoch, or None. save: the same.
    """

    load: Callable[[], dict[str, Tensor] | None]
    save: Callable[[dict[str, Tensor]], None]


class CodeLearner(nn.Module):
    """The weight of one layer as codes in motion: clip(start + round(w / s)), with `learned` w [C, ...] and s [C].

    Cascade: `start` are the codes that block reconstruction found and w a correction u from 0. LSQ (arXiv 1902.08153):
    `start` is 0 and w the float weight.
    """

    start: Tensor

    def __init__(self, layer: QuantizedLayer, method: Literal["cascade", "lsq"]) -> None:
        super().__init__()
        lsq = method == "lsq"
        self.lo, self.hi = layer.grid.lo, layer.grid.hi
        self.register_buffer("start", torch.zeros_like(layer.weight_scale[0]) if lsq else layer.codes.float())
        self.learned = nn.Parameter(layer.weight.clone() if lsq else torch.zeros_like(layer.weight))
        self.log_scale = nn.Parameter(layer.weight_scale.log())

    def codes(self) -> Tensor:
        """float32 [C, ...], straight-through."""
        scale = grid.per_channel(self.log_scale.exp(), self.learned)
        return torch.clamp(self.start + round_ste(self.learned / scale), self.lo, self.hi)

    def forward(self) -> Tensor:
        """The weight on its grid, float32 [C, ...]."""
        return self.codes() * grid.per_channel(self.log_scale.exp(), self.learned)

    @torch.no_grad()
    def commit(self, layer: QuantizedLayer) -> None:
        """Write codes and scale into the layer."""
        layer.codes.copy_(self.codes().to(torch.int8))
        layer.weight_scale.copy_(self.log_scale.exp())


def train(
    gm: GraphNetwork,
    images: Tensor | ActivationStore,
    config: QuantizeConfig,
    seed: int,
    store: EpochStore,
    progress: Progress,
    ranks: TrainingRanks = ALONE,
) -> dict[str, list[float]]:
    """Train a PTQ solution (`qat_method` lsq: a rounded network) in place for `config.qat_epochs`.

    Computes where the graph is. images: float32 [N, C, H, W] on the CPU, read a batch at a time; an eighth is held out
    to choose the epoch. ranks: processes that all call this with the same arguments; the main one saves. Returns the
    held-out KL by epoch, the solution it began with first.
    """
    images = ActivationsInMemory(images) if isinstance(images, Tensor) else images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held = max(1, int(len(images) * HELD_OUT_SHARE))
    held_out, training = order[:held], order[held:] if len(images) > held else order
    teacher = _logits(gm, images, torch.arange(len(images)).split(config.batch_size), quantized=False)
    judged = held_out.split(config.batch_size)
    learner = _Learner(gm, config)
    steps = max(1, len(training) // config.batch_size) * config.qat_epochs
    history = [_divergence(gm, images, judged, teacher[held_out])]
    best = learner.committed_state()
    state = store.load()
    first = 0
    if state is not None:
        first = learner.resume(state)
        history = state["history"].tolist()
        best = {name.removeprefix("best."): value for name, value in state.items() if name.startswith("best.")}
    for epoch in progress.track(range(first, config.qat_epochs), config.qat_epochs - first, "train (QAT)"):
        shuffled = training[torch.randperm(len(training), generator=torch.Generator().manual_seed(seed * 1009 + epoch))]
        learner.attach()
        for chosen in shuffled.split(config.batch_size):
            if len(chosen) == config.batch_size or len(training) < config.batch_size:
                mine = ranks.share(chosen)
                learner.step(_taken(images, mine, device_of(gm)), teacher[mine], steps, len(mine) / len(chosen), ranks)
        learner.commit_average()
        history.append(_divergence(gm, images, judged, teacher[held_out]))
        progress.detail(f"  epoch {epoch + 1}: held-out KL {history[-1]:.4f}")
        if history[-1] <= min(history):
            best = learner.committed_state()
        kept = {f"best.{name}": value for name, value in best.items()}
        if ranks.is_main:
            counts = {"history": torch.tensor(history), "epoch": torch.tensor(epoch + 1)}
            store.save({**learner.state(), **kept, **counts})
    learner.restore(best)
    return {"held_out_kl": history}


class _Learner:
    """Parameters, their average, and the optimiser, over the layers and quantizers of a graph that are trained."""

    def __init__(self, gm: GraphNetwork, config: QuantizeConfig) -> None:
        self._gm = gm
        trained = _trained_blocks(gm, config)
        self._layers = [part for block in trained for part in block.layers()]
        self._corrections = nn.ModuleList([CodeLearner(part, config.qat_method) for part in self._layers])
        self._autocast = config.qat_autocast
        generator = torch.Generator()  # nothing is dropped in QAT, so nothing is drawn from it
        learners = scale_learners([part for block in trained for part in block.quantizers()], 0.0, generator)
        self._quantizers, self._scales = list(learners), nn.ModuleList(learners.values())
        scales = [part.log_scale for part in dict.fromkeys((*self._corrections, *self._scales))]
        units = [_weight_unit(layer) for layer in self._layers]
        groups = [
            {"params": [part.learned], "lr": config.qat_weight_lr * unit}
            for part, unit in zip(self._corrections, units, strict=True)
        ]
        self._optimizer = torch.optim.Adam([*groups, {"params": scales, "lr": config.qat_scale_lr}])
        self._peak_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._parameters = {**_named(self._corrections, "correction"), **_named(self._scales, "scale")}
        self._average = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._steps = 0

    def attach(self) -> None:
        for layer, correction in zip(self._layers, self._corrections, strict=True):
            layer.learner = correction
        for quantizer, scale in zip(self._quantizers, self._scales, strict=True):
            quantizer.learner = scale

    def step(self, x: Tensor, teacher: Tensor, steps: int, share: float, ranks: TrainingRanks) -> None:
        """One of `steps` updates. x, teacher: this process's part of the batch, which is `share` of it."""
        factor = 0.5 * (1 + math.cos(math.pi * min(self._steps / steps, 1.0)))
        for group, peak in zip(self._optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = peak * factor
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._autocast):
            logits = self._gm(x)
        loss = kl_divergence(logits.float(), teacher) * share
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        ranks.add_gradients(self._parameters.values())
        self._optimizer.step()
        self._steps += 1
        decay = min(EMA_DECAY, self._steps / (self._steps + 10))
        for name, value in self._parameters.items():
            self._average[name].lerp_(value.detach(), 1 - decay)

    def commit_average(self) -> None:
        """Write the averaged parameters into layers and quantizers, and take the learners off."""
        current = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._assign(self._average)
        for layer, correction in zip(self._layers, self._corrections, strict=True):
            layer.learner = None
            correction.commit(layer)  # type: ignore[operator]
        for quantizer, scale in zip(self._quantizers, self._scales, strict=True):
            quantizer.learner = None
            scale.commit(quantizer)  # type: ignore[operator]
        self._assign(current)

    def committed_state(self) -> dict[str, Tensor]:
        """What is written in layers and quantizers now, by name."""
        layers = {f"{part.name}.codes": part.codes.clone() for part in self._layers}
        scales = {f"{part.name}.weight_scale": part.weight_scale.clone() for part in self._layers}
        return {**layers, **scales, **{f"{part.name}.scale": part.scale.clone() for part in self._quantizers}}

    def restore(self, state: dict[str, Tensor]) -> None:
        for layer in self._layers:
            layer.codes.copy_(state[f"{layer.name}.codes"])
            layer.weight_scale.copy_(state[f"{layer.name}.weight_scale"])
        for quantizer in self._quantizers:
            quantizer.scale.copy_(state[f"{quantizer.name}.scale"])

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on: parameters, averages, Adam's moments, the step count."""
        tensors = {f"parameter.{name}": value.detach() for name, value in self._parameters.items()}
        tensors |= {f"average.{name}": value for name, value in self._average.items()}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"adam.{key}.{name}"] = value
        return tensors | {"steps": torch.tensor(self._steps)}

    def resume(self, state: dict[str, Tensor]) -> int:
        """Go on from `state()`; returns the number of finished epochs."""
        for name, parameter in self._parameters.items():
            parameter.data.copy_(state[f"parameter.{name}"])
            self._average[name].copy_(state[f"average.{name}"])
            moments = {key: state[f"adam.{key}.{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
            moments["step"] = state[f"adam.step.{name}"]  # which Adam keeps on the CPU
            self._optimizer.state[parameter] = {key: value.clone() for key, value in moments.items()}
        self._steps = int(state["steps"])
        return int(state["epoch"])

    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.data.copy_(values[name])


def _trained_blocks(gm: GraphNetwork, config: QuantizeConfig) -> list[Block]:
    """All but the first; with plain LSQ, which starts from a network that was only rounded, all."""
    blocks = split(gm)
    share = config.qat_frozen_share if config.qat_method == "cascade" else 0.0
    return blocks[min(round(share * len(blocks)), len(blocks) - 1) :]


def _named(parts: nn.ModuleList, kind: str) -> dict[str, nn.Parameter]:
    return {f"{kind}.{name}": parameter for name, parameter in parts.named_parameters()}


def _weight_unit(layer: QuantizedLayer) -> float:
    """A typical step of the layer's grid: learning rates are given in steps."""
    return float(layer.weight_scale.mean())


def _taken(images: ActivationStore, chosen: Tensor, device: torch.device) -> Tensor:
    """The images chosen (int64 [B]), float32 [B, C, H, W]."""
    values, places = images.gather(chosen)
    return values[places].to(device)


def _logits(gm: GraphNetwork, images: ActivationStore, batches: Sequence[Tensor], quantized: bool) -> Tensor:
    """What the graph says of the images that each batch (int64 [B]) chooses."""
    set_quantization(gm, quantized)
    try:
        with torch.no_grad():
            return torch.cat([gm(_taken(images, chosen, device_of(gm))) for chosen in batches])
    finally:
        set_quantization(gm, True)


def _divergence(gm: GraphNetwork, images: ActivationStore, batches: Sequence[Tensor], teacher: Tensor) -> float:
    return float(kl_divergence(_logits(gm, images, batches, quantized=True), teacher))
