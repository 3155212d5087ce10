"""The `check` folder of a build: golden data, and small programs that hold the file against it on any device."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from export.check.answers import answering
from export.check.golden import Subject, in_levels, make_golden
from genq_export.config.build import BuildConfig
from genq_export.config.releases import EXACT_SINCE
from genq_export.core.workspace import Workspace, sha256
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.onnx_graph import code_outputs, quantizers, read_model
from genq_export.runtimes.onnxruntime import AS_WRITTEN, lacks_zero_points

FOLDER = "check"
PROGRAMS = ("check.py", "check.mjs", "compare.mjs", "sha256.mjs", "runtime.mjs", "show.mjs", "index.html", "page.css")
# Float operators (LayerNorm, softmax) may round a code otherwise on another processor: one code of 4,160 in one of 43
# images of a W8A8 ViT. What later layers make of it differs in up to 6 % of that image's codes, and does not count.
_LEAST = 0.999


def write_check(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, integer_model: GraphNetwork, images: list[Path]
) -> list[str]:
    """Write the folder for the build's `model.onnx`.

    Args:
        workspace: of the build.
        config: `export.check_size` and `export.check_images` bound the data.
        model: its preprocessing makes numbers of images.
        integer_model: what the file stands for; the source of all that is expected.
        images: of the calibration set; those that are taken are spread over the list.

    Returns:
        The files, relative to the build folder; none where the config wants no check.
    """
    room = int(config.export.check_size)
    if not room:
        return []
    path = workspace.path("model.onnx")
    file = read_model(path)
    subject = _subject(config, model, path, file)
    pixels, table = in_levels(_numbers(images, model, config.export.check_images))
    golden, data = make_golden(subject, pixels, table, answering(integer_model, subject.dtypes), room)
    contents = {
        "golden.json": (golden.model_dump_json(indent=1) + "\n").encode(),
        "golden.bin": data,
        "probes.bin": code_outputs(file),
        **{name: files(__package__).joinpath("assets", name).read_bytes() for name in PROGRAMS},
    }
    for name, content in contents.items():
        workspace.write_bytes(f"{FOLDER}/{name}", content)
    return [f"{FOLDER}/{name}" for name in contents]


def _subject(config: BuildConfig, model: LoadedModel, path: Path, file: onnx.ModelProto) -> Subject:
    nodes = quantizers(file)
    dtypes = {node.name: node.dtype for node in nodes}
    return Subject(
        network=model.name,
        grid=config.quantize.grid_name,
        target=config.target,
        model=sha256(path),
        tensors={node.name: node.tensor for node in nodes},
        dtypes=dtypes,
        session=dict([AS_WRITTEN]) if "int8" in dtypes.values() else {},
        least=_LEAST,
        exact_since=EXACT_SINCE if lacks_zero_points(file) else None,
    )


def _numbers(images: list[Path], model: LoadedModel, most: int) -> NDArray[np.float32]:
    """float32 [N, C, H, W] of the images that the check may take, evenly spread over the list."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), most)).round().astype(int))
    numbers: NDArray[np.float32] = load_images([images[index] for index in chosen], model).numpy()
    return numbers
