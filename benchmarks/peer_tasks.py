"""Networks of `peers.py` that are no classifiers: the zoo's detector by labels, PP-OCR's text detection by float.

`ppocr_detection` needs `--files`, the folder with what the PyPI package `rapidocr` carries; it is judged on what
`tasks.py` judges it by. Everything is made once below `options.out`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import judging_pictures
import numpy as np
import onnx
import onnx.version_converter
import tasks
from made_images import made_images
from numpy.typing import NDArray
from peer_networks import arrays_of
from sessions import exact_session, outputs_of

from genq_export.config.build import BuildConfig
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set, load_model
from genq_export.tasks.detection import LabelledBoxes
from genq_export.tasks.task import task_of
from runtime_tests.verify.float_baseline import export_float

DETECTOR, OCR = "fashion_detector", "ppocr_detection"
NAMES = (DETECTOR, OCR)
_BATCH, _OPSET = 50, 17
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TaskNetwork:
    """A float network with everything that every tool gets, as `peer_networks.Network` has it.

    door: how `BuildConfig.for_model` is told of it. measure: what `figure` is. figure: of a file's outputs on the
    judging images, in the float file's order. float_figure: the float network's own, None where it is the measure.
    """

    model: LoadedModel
    name: str
    door: dict[str, Any]
    float_file: Path
    judging: Path
    images: dict[str, list[Path]]
    arrays: dict[str, Path]
    measure: str
    figure: Callable[[Sequence[Floats]], float]
    float_figure: float | None

    def config(self, **further: Any) -> BuildConfig:
        """Of a build."""
        return BuildConfig.for_model(**self.door, **further)

    def scores(self, session: Any) -> dict[str, Any]:
        """Of a file in ONNX Runtime."""
        outputs = outputs_of(session, np.load(self.judging, mmap_mode="r"))
        found = {"judging": len(outputs[0]), "measure": self.measure, "value": self.figure(outputs)}
        return found if self.float_figure is None else found | {"float_value": self.float_figure}


def prepare_task(name: str, options: argparse.Namespace) -> TaskNetwork:
    """Load a network and write what tools need; what is there is not made again."""
    folder = options.out / "networks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return (_detector if name == DETECTOR else _ocr)(folder, options)


def _detector(folder: Path, options: argparse.Namespace) -> TaskNetwork:
    """Judged by mAP on 2,000 labelled scenes; calibrated on drawn ones, which are all there are."""
    door = {"name": DETECTOR}
    model = load_model(BuildConfig.for_model(DETECTOR, bits=8).model)
    scenes = evaluation_set(model, None)
    assert scenes is not None and scenes.truths is not None
    truths, float_file, judging = scenes.truths, folder / "float.onnx", folder / "judging.npy"
    if not float_file.is_file():
        export_float(model, float_file)
    if not judging.is_file():
        np.save(judging, np.concatenate([batch.numpy() for batch in scenes.batches(model, _BATCH)]))
    session = exact_session(float_file)
    names = [output.name for output in session.get_outputs()]

    def precision(outputs: Sequence[Floats]) -> float:
        metric = LabelledBoxes()
        for start in range(0, len(truths), _BATCH):
            part = slice(start, start + _BATCH)
            metric.add({name: array[part] for name, array in zip(names, outputs, strict=True)}, truths[part])
        return metric.figures()[0].value

    made = _made(model, BuildConfig.for_model(DETECTOR, bits=8, images=options.scene_images), options)
    best = precision(outputs_of(session, np.load(judging, mmap_mode="r")))
    arrays = arrays_of(made, model, folder)
    return TaskNetwork(
        model, DETECTOR, door, float_file, judging, made, arrays, "mAP@50:95 on 2,000 labelled scenes", precision, best
    )


def _ocr(folder: Path, options: argparse.Namespace) -> TaskNetwork:
    """Judged by the IoU of text maps with float's on 200 pictures; calibrated on drawn text, or on other pictures."""
    network = tasks.NETWORKS["text detection"]
    (source,) = options.files.rglob(network.file)
    door = {
        "name": str(source), "task": network.task, "generator": network.generator, "input_size": network.size,
        "mean": network.mean, "std": network.std, "layout": network.layout,
    }  # fmt: skip
    model = load_model(BuildConfig.for_model(**door, bits=8).model)
    float_file, judging = folder / "float.onnx", folder / "judging.npy"
    if not float_file.is_file():  # scales a channel need opset 13
        onnx.save(onnx.version_converter.convert_version(onnx.load(source), _OPSET), float_file)
    if not judging.is_file():
        pictures = _pictures(network, options, judging_pictures.JUDGING, tasks.JUDGED)
        np.save(judging, np.concatenate([network.prepared(picture) for picture in pictures]))
    answers = outputs_of(exact_session(float_file), np.load(judging, mmap_mode="r"))

    def overlap(outputs: Sequence[Floats]) -> float:
        comparison = task_of(network.task).comparison()
        comparison.add({"output": answers[0]}, {"output": outputs[0]})
        return comparison.figures()[0].value

    real = folder / "real"
    if not real.is_dir():
        real.mkdir()
        pictures = _pictures(network, options, judging_pictures.CALIBRATION, tasks.CALIBRATING)
        for number, picture in enumerate(pictures):
            picture.save(real / f"{number:04d}.png")
    made = _made(model, BuildConfig.for_model(**door, bits=8, images=tasks.CALIBRATING), options)
    images = made | {"real": sorted(real.glob("*.png"))}
    arrays = arrays_of(images, model, folder)
    measure = "IoU with float's map of text on 200 pictures"
    return TaskNetwork(model, OCR, door, float_file, judging, images, arrays, measure, overlap, None)


def _pictures(network: tasks.Network, options: argparse.Namespace, part: str, count: int) -> Any:
    return judging_pictures.pictures(network.kind, options.photographs, part, network.size[1:], count)


def _made(model: LoadedModel, config: BuildConfig, options: argparse.Namespace) -> dict[str, list[Path]]:
    """Drawn images, as builds draw them."""
    folder = options.out / "pools" / f"{Path(model.name).stem}-{config.calibrate.images}"
    return {"synthetic": made_images(config, model, folder)}
