"""Which layers are weak: the reference against the very same graph in float, at every quantizer and every weight."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genq_export.runtimes.base import Batch
from genq_export.tasks.counts import sqnr_db
from runtime_tests.verify.channel_response import responses
from runtime_tests.verify.metrics import cosine
from runtime_tests.verify.results import LayerQuality, WeightQuality
from runtime_tests.verify.weight_relation import relation


@dataclass
class _Sums:
    """Over all elements seen: of the float tensor f, the quantized network's x before and q after the quantizer."""

    float_power: float = 0.0
    quantized_power: float = 0.0
    dot: float = 0.0
    error: float = 0.0
    input_power: float = 0.0
    own_error: float = 0.0
    clipped: int = 0
    count: int = 0


def activation_quality(reference: nn.Module, batches: Iterable[Batch]) -> tuple[LayerQuality, ...]:
    """Signal to noise of every activation quantizer of the fake-quant reference, in execution order.

    The float side is the same module with quantization switched off, so both have the same tensors by the same names.
    """
    from genq_export.network.hooks import set_quantization

    sums: dict[str, _Sums] = {}
    for batch in batches:
        images = torch.from_numpy(batch)
        set_quantization(reference, False)
        try:
            expected = {name: output for name, _, output, _ in _record(reference, images)}
        finally:
            set_quantization(reference, True)
        for name, before, after, part in _record(reference, images):
            if name in expected:
                _add(sums.setdefault(name, _Sums()), expected[name], before, after, part)
    return tuple(
        LayerQuality(
            name=name,
            sqnr_db=_finite(sqnr_db(total.float_power, total.error)),
            own_sqnr_db=_finite(sqnr_db(total.input_power, total.own_error)),
            cosine=cosine(total.dot, total.float_power, total.quantized_power),
            clipped=total.clipped / max(total.count, 1),
        )
        for name, total in sums.items()
    )


def weight_quality(reference: nn.Module, batches: Iterable[Batch] = ()) -> tuple[WeightQuality, ...]:
    """Signal to noise of every quantized weight against the float weight it came from (BatchNorm folded).

    batches: On these outputs are held against float's; without any only weights are.
    """
    answers = responses(reference, batches)
    found = []
    for part in reference.modules():
        if not all(hasattr(part, name) for name in ("weight", "codes", "weight_scale", "name")):
            continue
        layer: Any = part
        weight = layer.weight.double()
        scale = layer.weight_scale.double().view(-1, *[1] * (weight.dim() - 1))
        error = layer.codes.double() * scale - weight
        worst_db, worst_channel = _worst_channel(weight.flatten(1), error.flatten(1))
        found.append(
            WeightQuality(
                name=layer.name,
                bits=layer.grid.bits,
                sqnr_db=_finite(sqnr_db(float(weight.square().sum()), float(error.square().sum()))),
                worst_db=worst_db,
                worst_channel=worst_channel,
                bias_db=_ratio(layer.float_bias.double(), layer.bias.double()),
                relation=relation(layer, answers.get(layer.name)),
            )
        )
    return tuple(found)


def _worst_channel(weight: Tensor, error: Tensor) -> tuple[float | None, int | None]:
    """Least signal to noise of an output channel, and which; channels without a weight are none."""
    power, noise = weight.square().sum(1), error.square().sum(1)
    ratios = torch.where((power > 0) & (noise > 0), power / noise, torch.inf)
    channel = int(ratios.argmin())
    ratio = float(ratios[channel])
    return (round(10 * math.log10(ratio), 2), channel) if math.isfinite(ratio) else (None, None)


def _ratio(expected: Tensor, found: Tensor) -> float | None:
    power, noise = float(expected.square().sum()), float((found - expected).square().sum())
    return _finite(sqnr_db(power, noise)) if power > 0 and noise > 0 else None


def _add(total: _Sums, expected: Tensor, before: Tensor, after: Tensor, part: Any) -> None:
    f, x, q = expected.double(), before.double(), after.double()
    total.float_power += float(f.square().sum())
    total.quantized_power += float(q.square().sum())
    total.dot += float((f * q).sum())
    total.error += float((q - f).square().sum())
    total.input_power += float(x.square().sum())
    total.own_error += float((q - x).square().sum())
    codes = torch.round(x / part.scale.double()) + int(part.zero_point)
    total.clipped += int(((codes < part.grid.lo) | (codes > part.hi)).sum())
    total.count += x.numel()


def _record(module: nn.Module, images: Tensor) -> list[tuple[str, Tensor, Tensor, Any]]:
    """(name, input, output, quantizer) of every activation quantizer in the order of execution."""
    seen: list[tuple[str, Tensor, Tensor, Any]] = []
    with _hooks(module, seen), torch.no_grad():
        module(images)
    return seen


@contextmanager
def _hooks(module: nn.Module, seen: list[tuple[str, Tensor, Tensor, Any]]) -> Iterator[None]:
    def keep(part: Any, inputs: Any, output: Tensor) -> None:
        seen.append((part.name, inputs[0], output, part))

    parts = [part for part in module.modules() if hasattr(part, "scale") and hasattr(part, "zero_point")]
    handles = [part.register_forward_hook(keep) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _finite(value: float) -> float | None:
    """None for a tensor without any noise: its ratio is infinite and JSON has no such number."""
    return round(value, 2) if np.isfinite(value) else None
