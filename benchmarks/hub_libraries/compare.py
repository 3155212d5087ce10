"""Packages in Optimum and in transformers.js, beside `genq_export.load` of the builds they were made from.

    python -m venv optimum-env && optimum-env/bin/pip install 'optimum-onnx[onnxruntime]' 'transformers<4.58' pillow
    npm install @huggingface/transformers onnxruntime-node
    python -m benchmarks.hub_libraries.compare BUILD --optimum-python optimum-env/bin/python --node-modules node_modules

128 test images: as tensors, whose logits must be equal bit for bit; and enlarged to 100 x 100 pictures, which each
library resizes by itself. The difference of what then reaches the network is given in dB below its power.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genq_export import load, zoo
from genq_export.models.description import read_description
from genq_export.models.loaded import LoadedModel
from genq_export.pipeline.package.write import Wish, package_files, write_package
from genq_export.tasks.counts import ErrorPower

HERE = Path(__file__).parent
_SIDE = 100  # pixels of a picture


@dataclass(frozen=True)
class Row:
    """One package in one library. labels: whether `pipeline(...)` gives the classes of these logits; None: not run."""

    network: str
    library: str
    images: int
    equal_logits: int
    largest: float
    preprocessing_db: float
    agreement: float
    labels: bool | None

    def line(self) -> str:
        """Of a Markdown table."""
        equal = f"{self.equal_logits} of {self.images}" + (f", largest {self.largest:.2g}" if self.largest else "")
        named = "not run" if self.labels is None else "yes" if self.labels else "no"
        return (
            f"| {self.network} | {self.library} | {equal} | {self.preprocessing_db:.1f} dB"
            f" | {100 * self.agreement:.1f} % | {named} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("builds", nargs="+", type=Path)
    parser.add_argument("--optimum-python", type=Path)
    parser.add_argument("--node-modules", type=Path)
    parser.add_argument("--model-type", help="of transformers, for the pipeline of transformers.js")
    parser.add_argument("--images", type=int, default=128)
    options = parser.parse_args()
    print(
        "| network | library | equal logits | preprocessing | agreement on pictures | pipeline |\n" + "|---" * 6 + "|"
    )
    for build in options.builds:
        for row in rows(build, options):
            print(row.line(), flush=True)


def rows(build: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Of one build in every library that is given."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_package(package_files(build, Wish(model_type=options.model_type))[0], work / "package")
        network = read_description(build)
        assert network is not None
        model = network.with_module(None)  # type: ignore[arg-type]
        tensors = _inputs(model, work, options.images)
        if options.optimum_python:
            subprocess.run([options.optimum_python, HERE / "with_optimum.py", work / "package", work], check=True)
            found = dict(np.load(work / "optimum.npz"))
            yield _row(build, "Optimum", model, tensors, work, found)
        if options.node_modules:
            arguments = [options.node_modules, work / "package", work, len(tensors[0]), model.input_size[1]]
            arguments += ["pipeline"] if options.model_type else []
            script = HERE / "with_transformers_js.mjs"
            subprocess.run(["node", script, *map(str, arguments)], check=True)
            yield _row(build, "transformers.js", model, tensors, work, _from_node(work, len(tensors[0])))


def _inputs(model: LoadedModel, work: Path, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tensors of images, and tensors of pictures as the network's own preprocessing gives them; written down, too."""
    import torch

    pixels = zoo.test_set()[0][:count]
    tensors = model.normalize(torch.from_numpy(pixels)).numpy()
    np.save(work / "tensors.npy", tensors)
    (work / "tensors.bin").write_bytes(np.ascontiguousarray(tensors).tobytes())
    (work / "pictures").mkdir()
    pictures = [Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for image in pixels]
    for number, picture in enumerate(pictures):
        picture.save(work / "pictures" / f"{number:04d}.png")
    transform = model.transform()
    return tensors, torch.stack([transform(picture) for picture in pictures]).numpy()


def _from_node(work: Path, count: int) -> dict[str, Any]:
    names = {"logits": "js-logits", "pixels": "js-pixels", "of_pictures": "js-of-pictures"}
    arrays = {key: np.fromfile(work / f"{name}.bin", np.float32).reshape(count, -1) for key, name in names.items()}
    return {**arrays, "labels": np.asarray(json.loads((work / "js-labels.json").read_text()))}


def _row(
    build: Path, library: str, model: LoadedModel, tensors: tuple[NDArray[np.float32], ...], work: Path, found: Any
) -> Row:
    run = load(build)
    ours = np.concatenate([run(image[None]) for image in tensors[0]])
    ours_of_pictures = np.concatenate([run(image[None]) for image in tensors[1]])
    power = ErrorPower()
    power.add(tensors[1], found["pixels"].reshape(tensors[1].shape))
    names = None if not len(found["labels"]) else [model.class_names[row.argmax()] for row in found["of_pictures"]]  # type: ignore[index]
    return Row(
        network=model.name, library=library, images=len(ours),
        equal_logits=int((found["logits"] == ours).all(1).sum()), largest=float(np.abs(found["logits"] - ours).max()),
        preprocessing_db=power.sqnr_db(),
        agreement=float((found["of_pictures"].argmax(1) == ours_of_pictures.argmax(1)).mean()),
        labels=None if names is None else names == list(found["labels"]),
    )  # fmt: skip


if __name__ == "__main__":
    main()
