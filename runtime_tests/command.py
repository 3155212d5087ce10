"""The command line that makes a build again, for its report."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genq_export.config import BuildConfig


def command(config: BuildConfig) -> str:
    """`genq-export build …` with every option that differs from what the command does without it.

    Files and folders appear by their last name alone: a report travels, and where they lay is nobody's business.
    """
    quantize, calibrate, model = config.quantize, config.calibrate, config.model
    told: dict[str, Any] = {
        "weight_bits": quantize.weight_bits,
        "activation_bits": quantize.activation_bits,
        "target": config.target,
        "preset": config.preset,
        "images": calibrate.images,
        "seed": config.seed,
        "qat_epochs": quantize.qat_epochs,
        "scales": quantize.scales,
        "first_last_bits": quantize.first_last_bits,
        "keep_float": quantize.keep_float,
        "sensitivity": quantize.sensitivity,
        "average_bits": quantize.average_bits,
        "size_budget": quantize.size_budget and int(quantize.size_budget),
        "memory_budget": int(quantize.memory_budget),
        "device": config.device,
        "generator": calibrate.generator,
        "real": calibrate.real,
        "made_before": calibrate.made_before,
        "weights": model.weights,
        "classes": model.classes,
        "evaluation": config.verify.evaluation,
    }
    usual = BuildConfig.for_model(model.name, preset=config.preset)
    told_and_usual = BuildConfig.for_model(model.name, **told)
    parts = ["genq-export build", shlex.quote(model.name), *_bits(config), f"--target {config.target}"]
    if config.preset != "default":
        parts.append(f"--preset {config.preset}")
    if calibrate.images != usual.calibrate.images:
        parts.append(f"--images {calibrate.images}")
    parts.append(f"--seed {config.seed}")
    parts += _options(told, usual)
    differences = _differences(config.model_dump(), told_and_usual.model_dump())
    parts += [f"--set {shlex.quote(f'{field}={_text(value)}')}" for field, value in differences]
    return " ".join(parts)


def _bits(config: BuildConfig) -> list[str]:
    weights, activations = config.quantize.weight_bits, config.quantize.activation_bits
    if weights == activations:
        return [f"--bits {weights}"]
    return [f"--weight-bits {weights} --activation-bits {activations}"]


def _options(told: Mapping[str, Any], usual: BuildConfig) -> Iterator[str]:
    """Options with a name of their own that the preset does not give already."""
    quantize = usual.quantize
    for option, name, without in (
        ("--qat-epochs", "qat_epochs", quantize.qat_epochs),
        ("--scales", "scales", quantize.scales),
        ("--first-last-bits", "first_last_bits", quantize.first_last_bits),
        ("--average-bits", "average_bits", None),
        ("--size-budget", "size_budget", None),
        ("--memory-budget", "memory_budget", int(quantize.memory_budget)),
        ("--device", "device", usual.device),
        ("--calibration", "made_before", None),
        ("--generator", "generator", None),
        ("--real", "real", None),
        ("--weights", "weights", None),
        ("--classes", "classes", None),
        ("--eval", "evaluation", None),
    ):
        if told[name] != without:
            yield f"{option} {shlex.quote(_text(told[name]))}"
    for pattern in told["keep_float"]:
        yield f"--keep-float {shlex.quote(pattern)}"
    if told["sensitivity"]:
        yield "--sensitivity"


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
