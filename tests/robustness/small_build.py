"""A quantized and exported build of the embedded ResNet that takes seconds to make and to verify."""

from pathlib import Path

import numpy as np
from PIL import Image

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace

_QUIET = Progress(quiet=True)


def export_small(home: Path) -> Path:
    """Make it in `home/build`, calibrated and to be judged on 40 real images in `home/images`."""
    import torch

    from export.run import run as run_export
    from genq_export.models.source import load_model
    from genq_export.quantization.run import run as run_quantize

    torch.set_num_threads(1)
    for number, (pixels, label) in enumerate(zip(*zoo.few_shot_set(), strict=True)):
        place = home / "images" / zoo.CLASS_NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        if number % 4 == 0:
            Image.fromarray(np.asarray(pixels)).save(place / f"{number:03d}.png")
    values = BuildConfig.for_model("fashion_resnet", preset="quick").model_dump(mode="json")
    values["quantize"]["methods"] = []
    values["verify"] |= {
        "evaluation": str(home / "images"), "fidelity_images": 8, "latency_runs": 10, "latency_batches": (1,),
        "backends": ("reference", "oracle", "onnxruntime"),
    }  # fmt: skip
    config = BuildConfig.parse(values)
    model = load_model(config.model)
    workspace = Workspace.open(home / "build")
    workspace.write_config(config.to_yaml().encode())
    images = sorted((home / "images").rglob("*.png"))
    quantized = run_quantize(workspace, config, model, images, home / "partial", _QUIET)
    workspace.record("quantize", "identity of quantize", quantized, 1.0)
    workspace.record("export", "identity of export", run_export(workspace, config, model, _QUIET), 1.0)
    return workspace.folder
