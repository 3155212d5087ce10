"""What the user says of a network's preprocessing, in the place of what its door says; and all of it in words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.models.loaded import LoadedModel

FIELDS = ("input_size", "mean", "std", "crop", "layout")


def with_given(config: ModelConfig, model: LoadedModel) -> LoadedModel:
    """Put what the user says of the preprocessing in the place of what the door says.

    Raises:
        UserError: where numbers and channels do not fit.
    """
    if config.input_size is not None or config.crop is not None:
        model = replace(model, resize=None)
    size = config.input_size or model.input_size
    model = replace(model, processor=_processor(config, model, size))
    return replace(
        model,
        input_size=size,
        mean=_for_each_channel("mean", config.mean or model.mean, size[0], config.mean is not None),
        std=_for_each_channel("std", config.std or model.std, size[0], config.std is not None),
        crop_pct=config.crop or model.crop_pct,
        layout=_layout(config.layout or model.layout, size[0]),
    )


def in_words(model: LoadedModel) -> str:
    """What happens to a picture before the network sees it, in one sentence's part."""
    channels, height, width = model.input_size
    colours = f"pixels scaled to [0, 1], minus {_numbers(model.mean)}, over {_numbers(model.std)}"
    if model.processor is not None:
        kind = model.processor["image_processor_type"]
        return f"{kind} of transformers: {height} x {width}, {model.layout}, {colours}"
    order = "grey" if channels == 1 else model.layout
    exactly = f"shorter side resized to {model.resize} pixels"
    resized = exactly if model.resize is not None else f"resized for a crop of {model.crop_pct:g}"
    return f"{resized} ({model.interpolation}), centre {height} x {width}, {order}, {colours}"


def _processor(config: ModelConfig, model: LoadedModel, size: tuple[int, int, int]) -> Mapping[str, Any] | None:
    """The network's own image processor, with mean and std of the user's; none where the rest is the user's."""
    if model.processor is None or config.crop is not None or config.layout is not None or size != model.input_size:
        return None
    given = {
        f"image_{name}": list(_for_each_channel(name, values, size[0], True))
        for name, values in (("mean", config.mean), ("std", config.std))
        if values is not None
    }
    return {**model.processor, **given, **({"do_normalize": True} if given else {})}


def given_identity(config: ModelConfig) -> str:
    """What the user says of the network, in words; empty where it is nothing."""
    given = {name: getattr(config, name) for name in (*FIELDS, "outputs", "task")}
    free = " dynamic size" if config.dynamic_size else ""
    return "".join(f" {name} {value}" for name, value in given.items() if value is not None) + free


def _for_each_channel(name: str, values: tuple[float, ...], channels: int, given: bool) -> tuple[float, ...]:
    if len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    if given:
        raise UserError(f"--{name} has {len(values)} numbers, the network takes {channels} channels: give one for each")
    return (sum(values) / len(values),) * channels


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{value:g}' for value in values)})"


def _layout(layout: Any, channels: int) -> Any:
    if layout == "BGR" and channels != 3:
        raise UserError(f"--layout BGR is an order of 3 channels, the network takes {channels}")
    return layout
