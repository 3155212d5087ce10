"""Test scenes with what the float and the deployed network see in them: boxes, or masks."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import genq_export
from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.models.description import read_description
from genq_export.models.source import load_model
from genq_export.models.zoo_scenes import drawn_scenes
from genq_export.network.outputs import by_name
from genq_export.tasks.boxes import boxes_and_scores, detections, layout_of
from genq_export.tasks.task import Arrays

SCENES, SEEN, ZOOM = 4, 0.3, 3
# One colour a class, background first (Okabe and Ito's, lighter and darker).
COLOURS = (
    (40, 40, 40), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (160, 160, 160), (150, 90, 40), (170, 220, 120),
)  # fmt: skip


def draw(build: Path, out: Path) -> Path:
    """Two rows, float above and deployed below, of the first test scenes; returns the file, named as the network."""
    description = read_description(build)
    assert description is not None
    scenes, model = drawn_scenes(range(SCENES)), load_model(ModelConfig(name=description.name))
    deployed, path = genq_export.load(build), out / f"{description.name}.png"
    batch = model.normalize(torch.from_numpy(np.stack([scene.picture for scene in scenes])))
    with torch.inference_mode():
        right = {key: tensor.numpy() for key, tensor in by_name(model.module(batch)).items()}
    found = deployed(batch.numpy())
    got = found if isinstance(found, dict) else {next(iter(right)): found}
    rows = [_row([scene.picture for scene in scenes], outputs, model.task) for outputs in (right, got)]
    Image.fromarray(np.concatenate(rows)).quantize(128).save(path, optimize=True)
    return path


def _row(pictures: list[NDArray[np.uint8]], outputs: Arrays, task: str) -> NDArray[np.uint8]:
    seen = _boxed if task == "detection" else _masked
    parts = [
        seen(picture, {key: array[place] for key, array in outputs.items()}) for place, picture in enumerate(pictures)
    ]
    framed = [np.pad(part, ((0, 4), (0, 4), (0, 0)), constant_values=255) for part in parts]
    return np.concatenate(framed, 1)


def _boxed(picture: NDArray[np.uint8], outputs: Arrays) -> NDArray[np.uint8]:
    layout = layout_of({key: array.shape for key, array in outputs.items()})
    assert layout is not None
    boxes, scores = boxes_and_scores(layout, {key: array[None] for key, array in outputs.items()})
    found = detections(boxes[0], scores[0], True, SEEN)
    image = _large(picture)
    pen = ImageDraw.Draw(image)
    for corners, label in zip((found["boxes"] * ZOOM).tolist(), found["labels"].tolist(), strict=True):
        colour = COLOURS[1 + label]
        pen.rectangle(corners, outline=colour, width=2)
        pen.text((corners[0] + 3, corners[1] + 1), zoo.CLASS_NAMES[label], fill=colour, stroke_width=1, stroke_fill=0)
    return np.asarray(image)


def _masked(picture: NDArray[np.uint8], outputs: Arrays) -> NDArray[np.uint8]:
    (logits,) = outputs.values()
    mask = logits.argmax(0)
    colours = np.array(COLOURS, np.float32)[mask]
    share = np.where(mask > 0, 0.65, 0.0)[..., None]
    return np.asarray(_large((share * colours + (1 - share) * picture).round().astype(np.uint8)))


def _large(picture: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.NEAREST)
