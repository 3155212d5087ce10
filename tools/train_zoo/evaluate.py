"""Print the zoo's figures, and draw its contact sheet: `python -m tools.train_zoo.evaluate`."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genq_export.config.model import ModelConfig
from genq_export.models.source import evaluation_set, load_model
from genq_export.network.outputs import by_name
from genq_export.tasks.task import task_of
from genq_export.zoo import create_model, create_style_classifier, pipeline_folder, test_set
from genq_export.zoo.names import CLASS_NAMES, STYLES, ZOO_MODELS, ZOO_SCENE_MODELS
from tools.train_zoo.captions import ADJECTIVES, STYLE_PHRASES, fill
from tools.train_zoo.classifiers import accuracy, predict
from tools.train_zoo.pipeline import load_pipeline, sample
from tools.train_zoo.styles import Images

_PLAIN = ("a photo of a {c}", "a photo of a {adjective} {c}")
_ORIGINAL = ("a {style} of a {c}", "a {style} of a {adjective} {c}")


@dataclass(frozen=True)
class PromptFigures:
    """What became of one kind of prompt: shares of its images, each in 0..1."""

    images: int
    right_class: float  # classified as the prompted class by fashion_resnet
    right_class_in_original: float  # the same, among the images judged to be in the original style
    styles: dict[str, float]
    seconds: float


def measure_prompts(
    folder: Path, templates: Sequence[str], count: int, seed: int, steps: int, guidance: float = 3.5
) -> PromptFigures:
    """Sample `count` images, classes and templates in turn, from the pipeline in `folder`, and judge them."""
    prompts, labels = prompts_in_turn(templates, count)
    pipeline = load_pipeline(folder)
    started = time.monotonic()
    images = sample(pipeline, prompts, seed, steps, guidance)
    seconds = time.monotonic() - started

    right = predict(create_model("fashion_resnet"), images).argmax(1).numpy() == labels
    styles = predict(create_style_classifier(), images).argmax(1).numpy()
    original = styles == STYLES.index("original")
    return PromptFigures(
        images=count,
        right_class=float(right.mean()),
        right_class_in_original=float(right[original].mean()) if original.any() else 0.0,
        styles={style: float((styles == number).mean()) for number, style in enumerate(STYLES)},
        seconds=seconds,
    )


def prompts_in_turn(templates: Sequence[str], count: int) -> tuple[list[str], "np.typing.NDArray[np.int64]"]:
    """Return `count` prompts in the original style's words, and their classes: int64 [count]."""
    labels = np.arange(count) % len(CLASS_NAMES)
    prompts = []
    for number, label in enumerate(labels):
        turn = number // len(CLASS_NAMES)
        adjective = ADJECTIVES[turn % len(ADJECTIVES)]
        prompts.append(fill(templates[turn % len(templates)], CLASS_NAMES[label], "original", adjective))
    return prompts, labels


@torch.inference_mode()
def scene_figures(name: str, batch: int = 50) -> str:
    """What the detector or the segmenter gets right on the test scenes, in words."""
    model = load_model(ModelConfig(name=name))
    scenes, metric = evaluation_set(model, None), task_of(model.task).metric()
    assert scenes is not None and scenes.truths is not None and metric is not None
    for start, images in zip(range(0, len(scenes), batch), scenes.batches(model, batch), strict=True):
        outputs = {key: tensor.numpy() for key, tensor in by_name(model.module(images)).items()}
        metric.add(outputs, scenes.truths[start : start + batch])
    size = sum(parameter.numel() for parameter in model.module.parameters())
    found = ", ".join(f"{figure.title} {100 * figure.value:.2f} %" for figure in metric.figures())
    return f"{found} on {len(scenes)} {scenes.name}, {size:,} parameters"


def contact_sheet(folder: Path, seed: int, steps: int, zoom: int = 2) -> Image.Image:
    """Draw one row a class: six images of the plain prompt, then one of each style by name."""
    prompts = []
    for name in CLASS_NAMES:
        prompts += [fill(_PLAIN[0], name)] * 6
        prompts += [fill("a {style} of a {c}", name, style) for style in STYLE_PHRASES]
    images = sample(load_pipeline(folder), prompts, seed, steps)
    return tile(images, columns=12, zoom=zoom)


def tile(images: Images, columns: int, zoom: int) -> Image.Image:
    """Lay uint8 images [N, 32, 32, 3] out in rows, with a narrow grey border; N must be a multiple of `columns`."""
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=128)
    rows, side = len(images) // columns, framed.shape[1]
    grid = framed.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    return Image.fromarray(grid).resize((columns * side * zoom, rows * side * zoom), Image.Resampling.NEAREST)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_zoo.evaluate", description=__doc__)
    parser.add_argument("part", nargs="?", choices=["all", "classifiers", "scenes", "pipeline"], default="all")
    parser.add_argument("--pipeline", type=Path, default=pipeline_folder(), help="folder (default: the shipped one)")
    parser.add_argument("--images", type=int, default=600, help="images a kind of prompt (default %(default)s)")
    parser.add_argument("--steps", type=int, default=15, help="sampling steps (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of generated images to this PNG")
    options = parser.parse_args(arguments)

    if options.part in ("all", "classifiers"):
        images, labels = test_set()
        for name in ZOO_MODELS:
            model = create_model(name)
            size = sum(parameter.numel() for parameter in model.parameters())
            share = accuracy(model, images, labels)
            print(f"{name}: {share:.2%} of {len(labels)} test images, {size:,} parameters", flush=True)
    if options.part in ("all", "scenes"):
        for name in ZOO_SCENE_MODELS:
            print(f"{name}: {scene_figures(name)}", flush=True)
    if options.part in ("all", "pipeline"):
        for kind, templates in {"original style named": _ORIGINAL, "plain prompts": _PLAIN}.items():
            figures = measure_prompts(options.pipeline, templates, options.images, options.seed, options.steps)
            print(f"fashion_sd, {kind}: {_line(figures)}", flush=True)
    if options.sheet:
        contact_sheet(options.pipeline, options.seed, options.steps).save(options.sheet)
    return 0


def _line(figures: PromptFigures) -> str:
    styles = ", ".join(f"{style} {share:.1%}" for style, share in figures.styles.items())
    return (
        f"{figures.right_class:.1%} of {figures.images} images in the prompted class "
        f"({figures.right_class_in_original:.1%} of those in the original style); {styles}; {figures.seconds:.0f} s "
        f"on {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    sys.exit(main())
