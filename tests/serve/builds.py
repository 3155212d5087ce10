"""Builds of the zoo's networks with ranges alone, and no rounding ties."""

import json
from pathlib import Path

import torch
from PIL import Image

from export.run import run as run_export
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.source import load_model
from genq_export.quantization.run import run as run_quantize
from genq_export.serve.onnxruntime_web import DIGESTS
from runtime_tests.verify.results import VerifyFile
from runtime_tests.verify.verify_file import VERIFY_FILE

QUIET = Progress(quiet=True)


def make_build(home: Path, network: str, bits: int) -> Path:
    """Quantize and export into `home/build`; what `verify` leaves is empty."""
    torch.set_num_threads(1)
    images = []
    for number, pixels in enumerate(zoo.few_shot_set()[0][:12]):
        images.append(home / f"{number}.png")
        Image.fromarray(pixels).save(images[-1])
    settings = ["quantize.methods=[rounding_ties]"]
    config = BuildConfig.for_model(network, bits=bits, preset="quick", settings=settings)
    model = load_model(config.model)
    workspace = Workspace.open(home / "build")
    workspace.write_config(config.to_yaml().encode())
    quantized = run_quantize(workspace, config, model, images, home / "partial", QUIET)
    workspace.record("quantize", "q", quantized, 1.0)
    workspace.record("export", "e", run_export(workspace, config, model, QUIET, images), 1.0)
    workspace.write_json(VERIFY_FILE, VerifyFile().model_dump(mode="json"))
    workspace.record("verify", "v", StageResult([VERIFY_FILE]), 1.0)
    return workspace.folder


def runtime_folder(folder: Path) -> Path:
    """A folder of npm's with files of the right names, and nothing in them."""
    dist = folder / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in DIGESTS:
        (dist / name).write_text("// nothing")
    (dist.parent / "package.json").write_text(json.dumps({"version": "1.30.0"}))
    return folder
