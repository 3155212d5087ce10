"""`config.json` and `preprocessor_config.json`: what the network is, and what happens to a picture before it."""

import math
from importlib.metadata import version
from pathlib import PurePath, PureWindowsPath
from typing import Any

from genq_export.models.description import NetworkDescription
from runtime_tests.report.model import Report

TIMM = "timm_wrapper"  # transformers' type of a network that is timm's, whichever it is
PIPELINES = {
    "classification": "image-classification", "segmentation": "image-segmentation", "detection": "object-detection",
    "embedding": "image-feature-extraction",
}  # fmt: skip
_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}  # Pillow's numbers


def model_settings(network: NetworkDescription, report: Report, model_type: str | None) -> dict[str, Any]:
    """`config.json`.

    Args:
        network: of the build.
        report: of the build.
        model_type: of transformers; None: the network's own where it is one of that library, else `timm_wrapper`, which
            says of the architecture no more than its name.
    """
    kind = model_type or network.model_type or TIMM
    labels = network.class_names or tuple(f"LABEL_{number}" for number in range(network.classes))
    numbered = {str(number): name for number, name in enumerate(labels)}
    classes = {"id2label": numbered, "label2id": {name: int(number) for number, name in numbered.items()}}
    return {
        "model_type": kind,
        "architecture": shown_name(report.model),
        "num_channels": network.input_size[0],
        "image_size": max(network.input_size[1:]),
        **(classes if labels else {}),
        **(_timm(network, labels) if kind == TIMM else {}),
        "quantization_config": quantization(report),
        "transformers.js_config": {"dtype": "q8"},
    }


def shown_name(name: str) -> str:
    """The name of a network; of a file or folder the last part, as paths are nobody else's concern."""
    return PurePath(name).name if name.startswith((".", "/", "~")) or PureWindowsPath(name).drive else name


def _timm(network: NetworkDescription, labels: tuple[str, ...]) -> dict[str, Any]:
    """What transformers' wrapper of timm reads; without names it would take ImageNet's."""
    return {
        "num_classes": network.classes,
        "label_names": list(labels),
        "pretrained_cfg": {
            "input_size": list(network.input_size), "mean": list(network.mean), "std": list(network.std),
            "crop_pct": network.crop_pct, "interpolation": network.interpolation, "crop_mode": "center",
        },
    }  # fmt: skip


def quantization(report: Report) -> dict[str, Any]:
    """What was done to the network, and with what."""
    return {
        "quant_method": "genq-export",
        "version": version("genq-export"),
        "grid": report.bits.name,
        "weight_bits": report.bits.weights,
        "activation_bits": report.bits.activations,
        "first_last_bits": report.bits.first_last,
        "target": report.target,
    }


def preprocessor_settings(network: NetworkDescription) -> tuple[dict[str, Any] | None, str | None]:
    """`preprocessor_config.json`, or None and why there is none.

    The network's own processor where its door gave one; else CLIP's, which is the general one that transformers and
    transformers.js both have: shorter side resized, middle cut out, scaled, normalized.
    """
    if network.processor is not None:
        return dict(network.processor), None
    channels, height, width = network.input_size
    if channels != 3 or network.layout != "RGB":
        return None, "no preprocessor_config.json: no processor of transformers gives one channel, or BGR"
    if network.interpolation not in _RESAMPLE:
        return None, f"no preprocessor_config.json: {network.interpolation} has no number of Pillow's"
    return _general(network, (height, width)), None


def _general(network: NetworkDescription, size: tuple[int, int]) -> dict[str, Any]:
    shorter = network.resize or math.floor(min(size) / network.crop_pct)  # as timm rounds it
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": shorter},
        "resample": _RESAMPLE[network.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": size[0], "width": size[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(network.mean),
        "image_std": list(network.std),
    }
