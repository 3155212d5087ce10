"""QAT as GenQ's cascade: start from the PTQ solution, freeze its rounding, and learn small corrections end to end.

    W_q = s * clip(q_ptq + round_STE(u / s), lo, hi),  u_0 = 0

with q_ptq the codes that block reconstruction found. Weight and activation scales learn as in LSQ (autograd through the
expression above gives round(v/s) - v/s inside the range). The loss is KL divergence to the float network ([ours]: the
paper's loss is unknown), or what the task says where there are no logits, so no label is needed. The epoch with the
least loss on held-out calibration images is kept;
epoch 0, the PTQ solution itself, competes, so QAT cannot make a network worse on them.

The first blocks stay as PTQ made them (`qat.frozen_share`, [ours]). An even background is one number in every channel,
and every such number one code: a tiny move of a scale or weight changes that code for all pixels at once, which the
straight-through gradient does not see. On fashion_resnet at W4A4 it has the wrong sign for all three scales of the
stem, by finite differences, and training everything makes outputs on real images worse (docs/accuracy.md).

For comparison there is plain LSQ, from a network that was only rounded, with latent float weights w:

    W_q = s * clip(round_STE(w / s), lo, hi)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.distributed import Ranks
from genq_export.core.progress import Progress
from genq_export.core.workspace import write_atomic
from genq_export.network import grid
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.hooks import device_of, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.outputs import Answer
from genq_export.quantization.activation_cache import ActivationsInMemory, ActivationStore
from genq_export.quantization.algorithms.cosine import cosine
from genq_export.quantization.algorithms.lsq import round_ste, scale_learners
from genq_export.quantization.blocks import Block, split
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.summary import Findings, TrainingHistory
from genq_export.quantization.working_network import WorkingNetwork
from genq_export.tasks.classification import CLASSIFICATION
from genq_export.tasks.task import Divergence

HELD_OUT_SHARE = 0.125
EMA_DECAY = 0.99
ALONE = Ranks()


@dataclass(frozen=True)
class EpochStore:
    """Where the state after an epoch is kept, so that a killed run goes on at the epoch it was in.

    Attributes:
        load: gives tensors by name of the last finished epoch, or None.
        save: takes the same.
    """

    load: Callable[[], dict[str, Tensor] | None]
    save: Callable[[dict[str, Tensor]], None]

    @classmethod
    def in_folder(cls, folder: Path) -> "EpochStore":
        """One safetensors file, of the last epoch."""
        path = folder / "qat.safetensors"

        def load() -> dict[str, Tensor] | None:
            return load_file(path) if path.is_file() else None

        def keep(tensors: dict[str, Tensor]) -> None:
            write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))

        return cls(load, keep)


class Qat(Method):
    """Train the network against its float form; other processes take their share of every batch."""

    name = "qat"
    phase = Phase.NETWORK
    shares_work = True

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Train from where the network is in the main process."""
        gm, store = network.graph, EpochStore.in_folder(context.partial)
        with context.distributed(settings) as ranks:
            ranks.broadcast_parameters(gm.state_dict().values())
            arguments = (gm, images, settings, context.seed, store, context.progress)
            history = train(*arguments, ranks, context.divergence)
        return Findings(qat=history)


QAT = Qat()


class CodeLearner(nn.Module):
    """The weight of one layer as codes that are trained: clip(start + round(w / s)), `learned` w [C, ...] and s [C].

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
    ranks: Ranks = ALONE,
    divergence: Divergence = CLASSIFICATION.divergence,
) -> TrainingHistory:
    """Train a PTQ solution (`qat.method` lsq: a rounded network) in place for `qat.epochs`.

    Args:
        gm: prepared, with ranges searched; it computes where it is.
        images: float32 [N, C, H, W] on the CPU, read a batch at a time; an eighth is held out to choose the epoch.
        config: epochs, rates, batch size.
        seed: decides which images are held out, and the order of the others.
        store: an earlier run goes on from there.
        progress: where it tells how far it is.
        ranks: processes that all call this with the same arguments; the main one saves.
        divergence: what is made small.

    Returns:
        The held-out divergence by epoch, the solution it began with first.
    """
    images = ActivationsInMemory(images) if isinstance(images, Tensor) else images
    held_out, training = _held_out(len(images), seed)
    teacher = _Teacher(gm, images, config.batch_size)
    judged = held_out.split(config.batch_size)
    trainer = Trainer(gm, config, divergence)
    epochs = config.qat.epochs
    steps = max(1, len(training) // config.batch_size) * epochs
    history = [_held_out_divergence(gm, images, judged, teacher, divergence)]
    best = trainer.committed_state()
    state = store.load()
    first = 0
    if state is not None:
        first = trainer.resume(state)
        history = state["history"].tolist()
        best = {name.removeprefix("best."): value for name, value in state.items() if name.startswith("best.")}
    for epoch in progress.track(range(first, epochs), epochs - first, "train (QAT)"):
        shuffled = training[torch.randperm(len(training), generator=torch.Generator().manual_seed(seed * 1009 + epoch))]
        trainer.attach()
        for chosen in _whole_batches(shuffled, config.batch_size):
            own = ranks.share(chosen)
            pixels = _taken(images, own, device_of(gm))
            trainer.step(pixels, teacher.answer(own, pixels), steps, len(own) / len(chosen), ranks)
        trainer.commit_average()
        history.append(_held_out_divergence(gm, images, judged, teacher, divergence))
        progress.detail(f"  epoch {epoch + 1}: held-out KL {history[-1]:.4f}")
        if history[-1] <= min(history):
            best = trainer.committed_state()
        kept = {f"best.{name}": value for name, value in best.items()}
        if ranks.is_main:
            counts = {"history": torch.tensor(history), "epoch": torch.tensor(epoch + 1)}
            store.save({**trainer.state(), **kept, **counts})
    trainer.restore(best)
    return TrainingHistory(held_out_kl=tuple(history))


def _held_out(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of the images that choose the epoch, and of those that are trained on (all where there is only one)."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held = max(1, int(count * HELD_OUT_SHARE))
    return order[:held], order[held:] if count > held else order


def _whole_batches(numbers: Tensor, size: int) -> list[Tensor]:
    """Batches of `size`, what is left over dropped; one smaller batch where there are fewer."""
    return [batch for batch in numbers.split(size) if len(batch) == size or len(numbers) < size]


class Trainer:
    """Parameters, their average, and the optimiser, over the layers and quantizers of a graph that are trained."""

    def __init__(
        self, gm: GraphNetwork, config: QuantizeConfig, divergence: Divergence = CLASSIFICATION.divergence
    ) -> None:
        self._gm, self._divergence = gm, divergence
        trained = _trained_blocks(gm, config)
        self._layers = [part for block in trained for part in block.layers()]
        self._corrections = nn.ModuleList([CodeLearner(part, config.qat.method) for part in self._layers])
        self._autocast = config.qat.autocast
        generator = torch.Generator()  # nothing is dropped in QAT, so nothing is drawn from it
        learners = scale_learners([part for block in trained for part in block.quantizers()], 0.0, generator)
        self._quantizers, self._scales = list(learners), nn.ModuleList(learners.values())
        scales = [part.log_scale for part in dict.fromkeys((*self._corrections, *self._scales))]
        units = [_weight_unit(layer) for layer in self._layers]
        groups = [
            {"params": [part.learned], "lr": config.qat.weight_lr * unit}
            for part, unit in zip(self._corrections, units, strict=True)
        ]
        self._optimizer = torch.optim.Adam([*groups, {"params": scales, "lr": config.qat.scale_lr}])
        self._peak_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._parameters = {**_named(self._corrections, "correction"), **_named(self._scales, "scale")}
        self._average = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._steps = 0

    def attach(self) -> None:
        """Let what is learned stand in for weights and scales."""
        for layer, correction in zip(self._layers, self._corrections, strict=True):
            layer.learner = correction
        for quantizer, scale in zip(self._quantizers, self._scales, strict=True):
            quantizer.learner = scale

    def step(self, x: Tensor, teacher: Answer, steps: int, share: float, ranks: Ranks) -> None:
        """Make one of `steps` updates.

        Args:
            x: this process's part of the batch, float32 [B, C, H, W].
            teacher: what the float network gives for it.
            steps: updates of the whole training, for the cosine of the rates.
            share: of the batch that `x` is.
            ranks: of the processes that have the rest of it.
        """
        factor = cosine(steps)(self._steps)
        for group, peak in zip(self._optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = peak * factor
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._autocast):
            found = self._gm(x)
        loss = self._divergence(_in_float32(found), teacher) * share
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        ranks.add_gradients(self._parameters.values())
        self._optimizer.step()
        self._steps += 1
        decay = min(EMA_DECAY, self._steps / (self._steps + 10))
        for name, value in self._parameters.items():
            self._average[name].lerp_(value.detach(), 1 - decay)

    def commit_average(self) -> None:
        """Write the averaged parameters into layers and quantizers, and detach what is learned."""
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
        """Put back what `committed_state` gave."""
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
    share = config.qat.frozen_share if config.qat.method == "cascade" else 0.0
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


class _Teacher:
    """What the float network gives for images: logits once for all of them, larger answers whenever they are needed.

    logits: of all images, [N, classes]; None where the network gives tensors by name.
    """

    def __init__(self, gm: GraphNetwork, images: ActivationStore, batch_size: int) -> None:
        self._gm = gm
        self.logits: Tensor | None = None
        if gm.output_names() is None:
            batches = torch.arange(len(images)).split(batch_size)
            found = [_answer(gm, _taken(images, chosen, device_of(gm)), quantized=False) for chosen in batches]
            self.logits = torch.cat(found)  # type: ignore[arg-type]

    def answer(self, chosen: Tensor, pixels: Tensor) -> Answer:
        """For the images chosen (int64 [B]), which are `pixels`."""
        return _answer(self._gm, pixels, quantized=False) if self.logits is None else self.logits[chosen]


def _answer(gm: GraphNetwork, pixels: Tensor, quantized: bool) -> Answer:
    set_quantization(gm, quantized)
    try:
        with torch.no_grad():
            found: Answer = gm(pixels)
            return found
    finally:
        set_quantization(gm, True)


def _in_float32(answer: Answer) -> Answer:
    """Of autocast's numbers."""
    if isinstance(answer, Tensor):
        return answer.float()
    return {name: tensor.float() for name, tensor in answer.items()}


def _held_out_divergence(
    gm: GraphNetwork, images: ActivationStore, batches: Sequence[Tensor], teacher: _Teacher, divergence: Divergence
) -> float:
    """Over all images of the batches: of logits at once, of larger answers batch by batch."""
    if teacher.logits is None:
        total = 0.0
        for chosen in batches:
            pixels = _taken(images, chosen, device_of(gm))
            total += len(chosen) * float(divergence(_answer(gm, pixels, True), teacher.answer(chosen, pixels)))
        return total / sum(map(len, batches))
    found = [_answer(gm, _taken(images, chosen, device_of(gm)), quantized=True) for chosen in batches]
    return float(divergence(torch.cat(found), teacher.logits[torch.cat(list(batches))]))  # type: ignore[arg-type]
