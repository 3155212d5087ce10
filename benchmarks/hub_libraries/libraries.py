"""A package, the images that it is compared on, and what each library makes of them."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genq_export.models.description import read_description
from genq_export.models.loaded import LoadedModel
from genq_export.pipeline.package.settings import PIPELINES
from genq_export.pipeline.package.write import Wish, package_files, write_package

HERE = Path(__file__).parent
_OUTPUTS = {"image-feature-extraction": "pooler_output"}  # in transformers.js


@dataclass(frozen=True)
class Package:
    """A package in a folder of its own.

    tensors: float32 [N, 3, H, W], images that have the network's size. pixels: the same of pictures, as the network's
    own preprocessing gives them.
    """

    build: Path
    work: Path
    model: LoadedModel
    tensors: NDArray[np.float32]
    pixels: NDArray[np.float32]

    @classmethod
    def of(cls, build: Path, work: Path, pictures: list[Image.Image], model_type: str | None) -> "Package":
        """Write it, with the images beside it."""
        import torch

        write_package(package_files(build, Wish(model_type=model_type))[0], work / "package")
        network = read_description(build)
        assert network is not None
        model = network.with_module(None)  # type: ignore[arg-type]
        size = model.input_size[2], model.input_size[1]
        small = np.stack([np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures])
        tensors = model.normalize(torch.from_numpy(small)).numpy()
        np.save(work / "tensors.npy", tensors)
        (work / "tensors.bin").write_bytes(np.ascontiguousarray(tensors).tobytes())
        (work / "pictures").mkdir()
        for number, picture in enumerate(pictures):
            picture.save(work / "pictures" / f"{number:04d}.png")
        transform = model.transform()
        return cls(build, work, model, tensors, torch.stack([transform(picture) for picture in pictures]).numpy())

    @property
    def pipeline(self) -> str:
        """The libraries' name of the task."""
        return PIPELINES[self.model.task]


@dataclass(frozen=True)
class Found:
    """What a library makes of a package's images.

    of_tensors, of_pictures: the network's output. pixels: what the processor gives. piped: what `pipeline` answers: a
    class, a map of classes or a vector for each picture; None: it does not load, `refused` says why.
    """

    of_tensors: NDArray[np.float32]
    of_pictures: NDArray[np.float32]
    pixels: NDArray[np.float32]
    piped: list[NDArray[np.generic]] | None
    refused: str = ""


def in_optimum(package: Package, python: Path) -> Found:
    """In the environment of this Python."""
    command = [python, HERE / "with_optimum.py", package.work / "package", package.work, package.pipeline]
    subprocess.run(command, check=True)
    found = np.load(package.work / "optimum.npz")
    return Found(found["of_tensors"], found["of_pictures"], found["pixels"], list(found["piped"]))


def in_transformers_js(package: Package, modules: Path) -> Found:
    """In Node, with the library in this folder of modules."""
    count, height, width = len(package.tensors), *package.model.input_size[1:]
    output = _OUTPUTS.get(package.pipeline, "logits")
    arguments = (modules, package.work / "package", package.work, count, height, width, package.pipeline, output)
    subprocess.run(["node", HERE / "with_transformers_js.mjs", *map(str, arguments)], check=True)
    read = {
        name: np.fromfile(package.work / f"js-{name}.bin", np.float32).reshape(count, -1)
        for name in ("of_tensors", "of_pictures", "pixels")
    }
    refused = json.loads((package.work / "js-refused.json").read_text())
    kinds = {"image-classification": np.int32, "image-segmentation": np.uint8}
    piped = np.fromfile(package.work / "js-piped.bin", kinds.get(package.pipeline, np.float32))
    return Found(**read, piped=None if refused else list(piped.reshape(count, -1)), refused=refused)
