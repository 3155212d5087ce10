"""What the zoo's detector and segmenter lose against labels, without data.

    python benchmarks/scenes.py choose --out bench    # by which images to calibrate, on held-out training garments
    python benchmarks/scenes.py judge --out bench     # the deployed files, on the test scenes
    python benchmarks/scenes.py judge --out bench --peers --peers-python peers-env/bin/python    # other tools beside it
    python benchmarks/scenes.py draw --out bench --build FOLDER    # what float and the file of a build see

`choose` needs the four files of Fashion-MNIST (Debian: dataset-fashion-mnist): its scenes are of the 5,000 training
images that no network was trained on, so that the test scenes choose nothing. Lines go to bench/scenes.jsonl; what is
there already is not measured again.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A script's own folder is searched first, and a file there is named as our package `export` is.
# ruff: noqa: E402
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != HERE), str(HERE)]

import numpy as np
import result_lines
import scene_intervals
import scene_pictures
import torch
from grids import WIDTHS
from made_images import made_images
from peer_process import PeerError
from scene_peers import Made, makers
from sessions import exact_session, times_as_fast

from export import run as export_stage
from genq_export import BuildConfig, zoo
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.evaluation import EvaluationSet
from genq_export.data.scenes import Scene
from genq_export.data.truth import Truth
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set, load_model
from genq_export.models.zoo_scenes import boxes_of
from genq_export.network.files import load_reference
from genq_export.network.outputs import INPUT, by_name
from genq_export.quantization import run as quantize_stage
from genq_export.tasks.detection import LabelledBoxes
from genq_export.tasks.segmentation import LabelledMasks
from genq_export.tasks.task import Arrays, task_of
from runtime_tests.verify.float_baseline import export_float
from tools.train_zoo.idx import DEFAULT_FOLDER
from tools.train_zoo.scenes import scene_source

OURS = "genq-export"
SOURCES = ("leaves", "distill", "fashion_scenes")
GRIDS = ("W8A8", "W4A8", "W4A4-8", "W4A4")
_SEED, _LEAVES = 1, 50  # of the scenes that choose
_BATCH, _CALLS = 50, 300


@dataclass(frozen=True)
class Line:
    """One row. value, float_value: mAP@50:95 or mIoU against labels, as a share of 1. rest: what is said more."""

    part: str
    network: str
    source: str
    grid: str
    seed: int
    images: int
    value: float
    float_value: float
    rest: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, int, int]:
        """What it is of."""
        return self.part, self.network, self.source, self.grid, self.seed, self.images

    @property
    def lost(self) -> float:
        """Points."""
        return 100 * (self.float_value - self.value)


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("choose", "judge", "draw"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--networks", nargs="+", default=list(zoo.ZOO_SCENE_MODELS), choices=zoo.ZOO_SCENE_MODELS)
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=SOURCES)
    parser.add_argument("--grids", nargs="+", default=list(GRIDS), choices=GRIDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--images", type=int, default=256, help="to calibrate on")
    parser.add_argument("--scenes", type=int, default=500, help="that choose")
    parser.add_argument("--preset", default="quick", choices=("quick", "default"), help="quick: closed form alone")
    parser.add_argument("--peers", action="store_true", help="other tools beside it: quantize_static, NNCF")
    parser.add_argument("--peers-python", type=Path, help="python of the environment of peer_tools, for NNCF")
    parser.add_argument("--build", type=Path, help="folder, to draw")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part == "draw":
        print(scene_pictures.draw(options.build, options.out))
        return
    file = options.out / "scenes.jsonl"
    lines = result_lines.read(file, Line)
    measure = _choosing if options.part == "choose" else _judging
    for line in result_lines.kept(file, measure(options, {line.key for line in lines})):
        print(line, flush=True)
        lines.append(line)
    mine = [line for line in lines if line.part == options.part]
    print(table(mine))
    if options.part == "judge" and any(line.source != OURS for line in mine):
        print(f"\n{paired(mine, options.out)}")


def table(lines: list[Line]) -> str:
    """A row a network, source and grid, over the seeds."""
    rows = ["| network | images | grid | float | quantized | points lost (seeds) | |", "|---|---|---|---|---|---|---|"]
    for key in dict.fromkeys((line.network, line.source, line.grid) for line in lines):
        own = [line for line in lines if (line.network, line.source, line.grid) == key]
        lost = ", ".join(f"{line.lost:.2f}" for line in own)
        mean = float(np.mean([line.value for line in own]))
        rows.append(
            f"| {key[0]} | {own[0].images} {key[1]} | {key[2]} | {100 * own[0].float_value:.2f} %"
            f" | {100 * mean:.2f} % | {lost} | {own[0].rest} |"
        )
    return "\n".join(rows)


def _choosing(options: argparse.Namespace, known: set[Any]) -> Iterator[Line]:
    """The reference on held-out scenes, by what it was calibrated with."""
    draw = scene_source(options.data, "held out", _SEED, _LEAVES)
    scenes = [draw(number) for number in range(options.scenes)]
    for name in options.networks:
        config = _config(name, options, SOURCES[0], "W8A8", 0)
        model = load_model(config.model)
        best = figure(model.module, model, scenes)
        for source in options.sources:
            for seed in options.seeds:
                images: list[Path] = []
                for grid in options.grids:
                    line = Line("choose", name, source, grid, seed, options.images, 0.0, best)
                    if line.key in known:
                        continue
                    config = _config(name, options, source, grid, seed)
                    images = images or made_images(config, model, options.out / "sets" / f"{source}-{name}-{seed}")
                    with tempfile.TemporaryDirectory(dir=options.out) as place:
                        folder = Path(place) / "build"
                        workspace = Workspace.open(folder)
                        quantize_stage.run(workspace, config, model, images, folder / "partial", Progress())
                        value = figure(load_reference(folder), model, scenes)
                    yield Line(*line.key, value, best)


@torch.inference_mode()
def figure(network: Callable[[torch.Tensor], Any], model: LoadedModel, scenes: list[Scene]) -> float:
    """mAP or mIoU of a network on scenes."""
    metric = task_of(model.task).metric()
    assert metric is not None
    for start in range(0, len(scenes), _BATCH):
        part = scenes[start : start + _BATCH]
        batch = model.normalize(torch.from_numpy(np.stack([scene.picture for scene in part])))
        outputs = {name: tensor.numpy() for name, tensor in by_name(network(batch)).items()}
        metric.add(outputs, [boxes_of(scene) if model.task == "detection" else scene.mask for scene in part])
    return metric.figures()[0].value


def _judging(options: argparse.Namespace, known: set[Any]) -> Iterator[Line]:
    """The deployed file on the test scenes, by the default images of each; beside it other tools on the same."""
    for name in options.networks:
        model = load_model(_config(name, options, None, "W8A8", 0).model)
        scenes = evaluation_set(model, None)
        assert scenes is not None
        with tempfile.TemporaryDirectory(dir=options.out) as place:
            float_file = Path(place) / "float.onnx"
            export_float(model, float_file)
            best = judged(float_file, model, scenes).value()
            tools = {OURS: _own} | (makers(float_file, options.peers_python) if options.peers else {})
            for seed in options.seeds:
                config = _config(name, options, None, "W8A8", seed)
                images = made_images(config, model, options.out / "sets" / f"default-{name}-{seed}")
                for source, make in tools.items():
                    for grid in options.grids if source == OURS else ("W8A8",):
                        line = Line("judge", name, source, grid, seed, len(images), 0.0, best)
                        if line.key in known:
                            continue
                        folder = Path(place) / f"{source}-{grid}-{seed}".replace(" ", "-")
                        try:
                            file, said = make(folder, _config(name, options, None, grid, seed), model, images)
                        except PeerError as error:
                            print(f"{name}, {source}: {error}", flush=True)
                            continue
                        found = judged(file, model, scenes)
                        scene_intervals.keep(found, _resamples(options.out, line))
                        image = np.zeros((1, *model.input_size), np.float32)
                        speed = f"{times_as_fast(float_file, file, image, _CALLS):.2f}x"
                        yield Line(*line.key, found.value(), best, ", ".join((said, speed)))


def _resamples(out: Path, line: Line) -> Path:
    return out / "resamples" / ("-".join(str(part) for part in line.key).replace(" ", "_") + ".npy")


def paired(lines: list[Line], out: Path) -> str:
    """Ours less each other tool's at W8A8, over the seeds that both have, with its interval over scenes."""
    rows = [
        f"Points that genq-export is ahead of others at W8A8; paired 95 % interval, {scene_intervals.RESAMPLES}"
        " bootstrap resamples of the scenes, of the mean over the seeds:",
        "", "| network | genq-export less | points (seeds) | mean | 95 % interval |", "|---|---|---|---|---|",
    ]  # fmt: skip
    ours = {
        (line.network, line.seed, line.images): line for line in lines if (line.source, line.grid) == (OURS, "W8A8")
    }
    for network, source in dict.fromkeys((line.network, line.source) for line in lines if line.source != OURS):
        theirs = [line for line in lines if (line.network, line.source) == (network, source)]
        pairs = [(ours[key], line) for line in theirs if (key := (line.network, line.seed, line.images)) in ours]
        pairs = [pair for pair in pairs if all(_resamples(out, line).is_file() for line in pair)]
        if not pairs:
            continue
        ahead = [100 * (own.value - other.value) for own, other in pairs]
        varied = [100 * (np.load(_resamples(out, own)) - np.load(_resamples(out, other))) for own, other in pairs]
        low, high = scene_intervals.interval(np.mean(varied, axis=0))
        points = ", ".join(f"{value:+.2f}" for value in ahead)
        rows.append(f"| {network} | {source} | {points} | {np.mean(ahead):+.2f} | {low:+.2f} to {high:+.2f} |")
    return "\n".join(rows)


def _own(folder: Path, config: BuildConfig, model: LoadedModel, images: list[Path]) -> Made:
    """Quantized and exported as a build does it."""
    workspace = Workspace.open(folder)
    quantize_stage.run(workspace, config, model, images, folder / "partial", Progress())
    audit = export_stage.run(workspace, config, model, Progress()).summary["audit"]
    integer = sum(layer["integer"] for layer in audit)
    return folder / "model.onnx", f"{config.preset}, {integer} of {len(audit)} layers in integers"


def _answers(file: Path, model: LoadedModel, scenes: EvaluationSet) -> Iterator[tuple[Arrays, Sequence[Truth]]]:
    """Outputs and labels, batch by batch."""
    session, start = exact_session(file), 0
    assert scenes.truths is not None
    names = [output.name for output in session.get_outputs()]
    for batch in scenes.batches(model, _BATCH):
        outputs = dict(zip(names, session.run(None, {INPUT: batch.numpy()}), strict=True))
        yield outputs, scenes.truths[start : start + len(batch)]
        start += len(batch)


def judged(file: Path, model: LoadedModel, scenes: EvaluationSet) -> scene_intervals.Judged:
    """An ONNX file in ONNX Runtime, scene by scene."""
    if model.task == "detection":
        boxes = LabelledBoxes()
        for outputs, truths in _answers(file, model, scenes):
            boxes.add(outputs, truths)
        return scene_intervals.JudgedBoxes(boxes.images)
    pairs = []
    for outputs, truths in _answers(file, model, scenes):
        for place, truth in enumerate(truths):
            masks = LabelledMasks()
            masks.add({name: array[place : place + 1] for name, array in outputs.items()}, [truth])
            pairs.append(masks.confusion.pairs)
    return scene_intervals.JudgedMasks(pairs)


def _config(name: str, options: argparse.Namespace, source: str | None, grid: str, seed: int) -> BuildConfig:
    weights, activations = WIDTHS[grid]
    return BuildConfig.for_model(
        name, generator=source, weight_bits=weights, activation_bits=activations, preset=options.preset, seed=seed,
        images=options.images, settings=["quantize.sensitivity=false"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
