"""The networks of `peers.py`: their float answers, the images they are judged by, and the images tools calibrate on."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from calibration import calibration_set
from made_images import pool_of
from numpy.typing import NDArray
from peer_photographs import collect, crops, split

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.data.evaluation import load_images
from genq_export.models import package
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from runtime_tests.verify.float_baseline import export_float

SYNTHETIC, DISTILLED, REAL = "synthetic", "distilled", "real"
CALIBRATION_CROPS, JUDGING_CROPS = 3, 5  # of a photograph
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A float network with everything that every tool gets.

    float_file: ONNX. judging: a .npy of float32 [N, C, H, W]; answers: the float network's logits [N, classes] on it.
    labels: int64 [N], or None. images: files to calibrate on by source; arrays: the same as .npy, preprocessed.
    """

    model: LoadedModel
    float_file: Path
    judging: Path
    answers: Floats
    labels: NDArray[np.int64] | None
    images: dict[str, list[Path]]
    arrays: dict[str, Path]

    @property
    def name(self) -> str:
        """As genq-export calls it."""
        return self.model.name


def prepare_network(name: str, options: argparse.Namespace) -> Network:
    """Load a network and write what tools need below `options.out`; what is there is not made again."""
    folder = options.out / "networks" / name
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model(BuildConfig.for_model(name, bits=8).model)
    float_file = folder / "float.onnx"
    if not float_file.is_file():
        export_float(model, float_file)
    wanted = getattr(options, "sources", (SYNTHETIC, DISTILLED, REAL))  # others take time to make
    lite = name in package.NAMES
    images, judged, labels = _lite(model, folder, wanted, options) if lite else _of_the_zoo(name, wanted, options)
    judging = folder / "judging.npy"
    if not judging.is_file():
        np.save(judging, _preprocessed(judged, model))
    arrays = arrays_of(images, model, folder)
    return Network(model, float_file, judging, _answers(model, judging), labels, images, arrays)


def arrays_of(images: dict[str, list[Path]], model: LoadedModel, folder: Path) -> dict[str, Path]:
    """Images to calibrate on by source, preprocessed, as .npy."""
    arrays = {source: folder / f"{source}-{len(files)}.npy" for source, files in images.items()}
    for source, array in arrays.items():
        if not array.is_file():
            np.save(array, _preprocessed(images[source], model))
    return arrays


def _of_the_zoo(
    name: str, wanted: Sequence[str], options: argparse.Namespace
) -> tuple[dict[str, list[Path]], NDArray[np.uint8], NDArray[np.int64]]:
    """Synthetic images through both filters, as many real training images, and the test set."""
    kinds = {SYNTHETIC: "energy and distribution", REAL: "real training images"}
    found = {source: calibration_set(kind, name, options, 0)[0] for source, kind in kinds.items() if source in wanted}
    images = {source: files for source, files in found.items() if files}
    pixels, labels = zoo.test_set()
    return images, pixels, labels


def _lite(
    model: LoadedModel, folder: Path, wanted: Sequence[str], options: argparse.Namespace
) -> tuple[dict[str, list[Path]], list[Path], None]:
    """Dead leaves, distilled images below 8 bits, and crops of photographs: to calibrate on, and others to judge by."""
    made = {SYNTHETIC: pool_of("leaves", options.lite0_images, model, options.out)} if SYNTHETIC in wanted else {}
    if DISTILLED in wanted and any(bits != "W8A8" for bits in options.bits):
        made[DISTILLED] = pool_of("distill", options.lite0_distilled, model, options.out)
    parts = dict(zip((REAL, "judging"), split(collect(options.photographs)), strict=True))
    each = {REAL: CALIBRATION_CROPS, "judging": JUDGING_CROPS}
    files = {part: _cropped(photographs, folder / part, each[part]) for part, photographs in parts.items()}
    return made | {REAL: files[REAL]}, files["judging"], None


def _cropped(photographs: list[Path], folder: Path, each: int) -> list[Path]:
    facts = folder / "photographs.json"
    if not facts.is_file():
        folder.mkdir(exist_ok=True)
        for number, crop in enumerate(crops(photographs, each)):
            crop.save(folder / f"{number:04d}.png")
        facts.write_text(json.dumps([path.name for path in photographs]))
    return sorted(folder.glob("*.png"))


def _preprocessed(images: Sequence[Path] | NDArray[np.uint8], model: LoadedModel) -> Floats:
    if isinstance(images, np.ndarray):
        return model.normalize(torch.from_numpy(images)).numpy()
    return np.concatenate([load_images([path], model).numpy() for path in images])


@torch.inference_mode()
def _answers(model: LoadedModel, judging: Path) -> Floats:
    """The float network's logits, kept beside the images."""
    kept = judging.with_name("float_logits.npy")
    if not kept.is_file():
        images = torch.from_numpy(np.load(judging))
        np.save(kept, torch.cat([model.module(batch) for batch in images.split(50)]).numpy())
    found: Floats = np.load(kept)
    return found
