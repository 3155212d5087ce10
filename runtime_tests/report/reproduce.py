"""The command line that makes a build again, for its report."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genq_export.config.build import BuildConfig

_NAMED_OTHERWISE = {"made_before": "--calibration", "evaluation": "--eval"}


def command(config: BuildConfig) -> str:
    """`genq-export build …` with every option that differs from what the command does without it.

    Files and folders appear by their last name alone, but for a generator's: a report travels, and where they lay is
    nobody's business.
    """
    name, options = config.model.name, _options(config)
    of_preset = _options(BuildConfig.for_model(name, preset=config.preset))
    usual = of_preset | {"preset": "default", "target": None, "seed": None}  # the last two are always told
    bits = (config.quantize.weight_bits, config.quantize.activation_bits)
    told = BuildConfig.for_model(name, weight_bits=bits[0], activation_bits=bits[1], **options)
    parts = ["genq-export build", shlex.quote(name), _bits(*bits)]
    parts += [_option(option, value) for option, value in options.items() if value != usual[option]]
    differences = _differences(config.model_dump(), told.model_dump())
    parts += [f"--set {shlex.quote(f'{field}={_text(value)}')}" for field, value in differences]
    return " ".join(parts)


def _options(config: BuildConfig) -> dict[str, Any]:
    """What has an option of its own beside the bits, as `BuildConfig.for_model` takes it, in the order it is told."""
    quantize, calibrate = config.quantize, config.calibrate
    size_budget = quantize.mixed_precision.size_budget
    return {
        "target": config.target,
        "preset": config.preset,
        "images": calibrate.images,
        "seed": config.seed,
        "qat_epochs": quantize.qat.epochs,
        "scales": quantize.scales,
        "first_last_bits": quantize.first_last_bits,
        "average_bits": quantize.mixed_precision.average_bits,
        "size_budget": size_budget and int(size_budget),
        "memory_budget": int(quantize.memory_budget),
        "device": config.device,
        "made_before": calibrate.made_before,
        "generator": calibrate.generator,
        "real": calibrate.real,
        "weights": config.model.weights,
        "classes": config.model.classes,
        "evaluation": config.verify.evaluation,
        "keep_float": quantize.keep_float,
        "sensitivity": quantize.sensitivity,
    }


def _bits(weight_bits: int, activation_bits: int) -> str:
    if weight_bits == activation_bits:
        return f"--bits {weight_bits}"
    return f"--weight-bits {weight_bits} --activation-bits {activation_bits}"


def _option(name: str, value: Any) -> str:
    option = _NAMED_OTHERWISE.get(name, f"--{name.replace('_', '-')}")
    if value is True:
        return option
    values = value if isinstance(value, tuple) else (value,)
    return " ".join(f"{option} {shlex.quote(_text(one))}" for one in values)


def _differences(values: Mapping[str, Any], usual: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Fields whose value is another, `section.field` and the value."""
    for name, value in values.items():
        other = usual.get(name)
        if isinstance(value, dict) and isinstance(other, dict) and other:
            yield from _differences(value, other, f"{path}{name}.")
        elif value != other:
            yield f"{path}{name}", value


def _text(value: Any) -> str:
    """As the command line reads it."""
    if isinstance(value, Path):
        return value.name
    return value if isinstance(value, str) else json.dumps(value)
