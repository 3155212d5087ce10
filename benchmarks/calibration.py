"""What each ingredient of a calibration set is worth: top-1 of the quantized reference on Fashion-MNIST's test set.

    python benchmarks/calibration.py --out bench                    # everything; hours on two cores
    python benchmarks/calibration.py --out bench --models fashion_resnet --bits w4a4 --seeds 0 --images 256

Every result is a line of `results.jsonl`; a second call measures only what is missing, and prints the tables. Sets of
one seed share their drawn images where only filters or networks differ. The upper bound needs Fashion-MNIST's training
images (`--data`, a folder with the idx files).
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import result_lines
import torch
from hard_images import as_unsure_as_real
from numpy.typing import NDArray
from PIL import Image
from training_images import DEFAULT_FOLDER, load_split

from calibrate import run as calibrate_stage
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images, read_rows
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set, load_model
from genq_export.network.files import load_reference
from genq_export.quantization import run as quantize_stage
from runtime_tests.verify.metrics import kl_divergence

UNFILTERED = {"energy_keep": 1.0, "distribution_keep": 1.0}
BY_ENERGY = {"energy_keep": 0.675, "distribution_keep": 1.0}  # as many are dropped as by both filters
BOTH: dict[str, float] = {}
# The first of each pair names the pool of drawn images: ingredients and networks that share it draw once.
INGREDIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "energy and distribution": ("plain", BOTH),
    "energy": ("plain", BY_ENERGY),
    "text-to-image, unfiltered": ("unfiltered", UNFILTERED),
    "mixup prompts, both filters": ("mixup", {"prompts": "mixup"}),
    "distilled": ("distilled", {"generator": "distill"}),
    "1 real image a class": ("real1", {"real": 1}),
    "16 real images a class": ("real16", {"real": 16}),
    "16 real a class, unfiltered": ("real16-unfiltered", {"real": 16, "join_real": False, **UNFILTERED}),
}
HARD, HARD_FROM = "both filters, hard ones", 3  # chosen from so many times as many filtered images
BOUNDS = ("Gaussian noise", "real training images")
ROWS = (*INGREDIENTS, HARD, *BOUNDS)
DRAWN_ONLY = ("16 real a class, unfiltered",)  # shows what styles the learned token draws; not quantized on


@dataclass(frozen=True)
class Result:
    """One quantized network. original_share: of the drawn images, by the zoo's style judge; None without any.

    kl: from the float network, mean over the test images, nats; None where it was not measured.
    """

    model: str
    set_of: str
    ingredient: str
    bits: str
    seed: int
    top1: float
    float_top1: float
    images: int
    original_drawn: float | None
    original_kept: float | None
    kl: float | None = None


class Answers(NamedTuple):
    """To the 10,000 test images. logits: float32 [N, classes]; labels: int64 [N]."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def top1(self) -> float:
        """The share of right ones."""
        return float((self.logits.argmax(1) == self.labels).mean())


class Judged(NamedTuple):
    """What a network says to the 10,000 test images. top1: share; divergence: KL from float of each, nats, float64."""

    top1: float
    divergence: NDArray[np.float64]


def main() -> None:
    """Measure what is missing and print the tables."""
    options = _arguments()
    path = options.out / "results.jsonl"
    done = result_lines.read(path, Result)
    for result in result_lines.kept(path, measure(options, done)):
        done.append(result)
        loss = 100 * (result.float_top1 - result.top1)
        print(
            f"{result.model} {result.bits} seed {result.seed} {result.ingredient} ({result.set_of}): -{loss:.2f},"
            f" KL {result.kl:.4f}"
        )
    print(tables(done, options))
    if options.variety:
        print(variety(options))


def measure(options: argparse.Namespace, done: Sequence[Result]) -> Iterator[Result]:
    """Yield every result that is not in `done`."""
    known = {(r.model, r.set_of, r.ingredient, r.bits, r.seed, r.images) for r in done}
    for seed in options.seeds:
        for name in options.models:
            model = load_model(_config(name, options, seed, {}).model)
            floats = test_answers(model.module, model)
            for ingredient in ROWS:
                for set_of in (name, *(options.models if options.transfer else ())):
                    if set_of != name and ingredient != "energy and distribution":
                        continue
                    if ingredient in DRAWN_ONLY:
                        calibration_set(ingredient, set_of, options, seed)
                        continue
                    wanted = [
                        bits for bits in options.bits
                        if (name, set_of, ingredient, bits, seed, options.images) not in known
                    ]  # fmt: skip
                    if not wanted:
                        continue
                    images, shares = calibration_set(ingredient, set_of, options, seed)
                    if not images:
                        continue
                    for bits in wanted:
                        found = quantized(model, images, _config(name, options, seed, {}, bits), options.out, floats)
                        known.add((name, set_of, ingredient, bits, seed, options.images))
                        yield Result(
                            name, set_of, ingredient, bits, seed, found.top1, floats.top1, options.images, *shares,
                            float(found.divergence.mean()),
                        )  # fmt: skip


def calibration_set(
    ingredient: str, name: str, options: argparse.Namespace, seed: int
) -> tuple[list[Path], tuple[float | None, float | None]]:
    """Files of the kept images, made where they are missing, and the share of original-style images drawn and kept."""
    if ingredient == HARD:
        many = argparse.Namespace(**vars(options) | {"images": HARD_FROM * options.images})
        paths, shares = calibration_set("energy and distribution", name, many, seed)
        return as_unsure_as_real(paths, load_model(_config(name, options, seed, {}).model), options.images), shares
    folder: Path = options.out / "sets" / f"{_folder_name(ingredient)}_{name}_{seed}_{options.images}"
    facts = folder / "facts.json"
    if not facts.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if ingredient in BOUNDS:
            pixels = _bound(ingredient, options, seed)
            if pixels is None:
                return [], (None, None)
            for number, image in enumerate(pixels):
                Image.fromarray(image).save(folder / f"{number:06d}.png")
            shares: tuple[float | None, float | None] = (None, None)
        else:
            shares = _draw(ingredient, name, folder, options, seed)
        facts.write_text(json.dumps(shares))
    first, second = json.loads(facts.read_text())
    return sorted(folder.glob("*.png")), (first, second)


def _folder_name(ingredient: str) -> str:
    return ingredient.replace(" ", "_")


def _draw(
    ingredient: str, name: str, folder: Path, options: argparse.Namespace, seed: int
) -> tuple[float | None, float | None]:
    group, settings = INGREDIENTS[ingredient]
    settings = dict(settings)
    if "real" in settings:
        settings["real"] = _few_real(options.out, settings["real"])
    if ingredient == "distilled":
        group, settings["steps"] = f"{group}-{name}", options.distill_steps
    config = _config(name, options, seed, settings)
    workspace = Workspace.open(options.out / "pools" / f"{group}-{options.images}-{seed}")
    calibrate_stage.run(workspace, config, load_model(config.model), Progress())
    made = workspace.path("calibration")
    for number, path in enumerate(kept_images(made)):
        shutil.copyfile(path, folder / f"{number:06d}.png")
    if ingredient == "distilled":
        return None, None
    rows = [row for row in read_rows(made) if row.seed is not None]
    original = original_style([made / row.file_name for row in rows])
    kept = [is_original for is_original, row in zip(original, rows, strict=True) if row.kept]
    return statistics.fmean(original), statistics.fmean(kept) if kept else None


@torch.inference_mode()
def original_style(paths: Sequence[Path]) -> list[float]:
    """1.0 for each image that the zoo's style judge sees in the style of the training images, else 0.0."""
    judge = zoo.create_style_classifier()
    found: list[float] = []
    for start in range(0, len(paths), 256):
        pixels = np.stack([np.asarray(Image.open(path)) for path in paths[start : start + 256]])
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        found += (judge(x).argmax(1) == zoo.STYLES.index("original")).double().tolist()
    return found


def quantized(model: LoadedModel, images: list[Path], config: BuildConfig, out: Path, floats: Answers) -> Judged:
    """Judge the fake-quant reference that these images give."""
    with tempfile.TemporaryDirectory(dir=out) as name:
        folder = Path(name) / "build"
        started = time.perf_counter()
        quantize_stage.run(Workspace.open(folder), config, model, images, folder / "partial", Progress())
        print(f"  quantized in {time.perf_counter() - started:.0f} s")
        return judged(load_reference(folder), model, floats)


def judged(network: Callable[[torch.Tensor], torch.Tensor], model: LoadedModel, floats: Answers) -> Judged:
    """Judge a network that stands for `model`, whose own answers are `floats`, on the test images."""
    found = test_answers(network, model)
    return Judged(found.top1, kl_divergence(floats.logits, found.logits))


@torch.inference_mode()
def test_answers(network: Callable[[torch.Tensor], torch.Tensor], model: LoadedModel) -> Answers:
    """What a network that takes images as `model` does says to the test images."""
    test = evaluation_set(model, None)
    assert test is not None and test.labels is not None
    return Answers(torch.cat([network(batch) for batch in test.batches(model, 32)]).numpy(), test.labels)


def _bound(kind: str, options: argparse.Namespace, seed: int) -> np.ndarray | None:
    rng = np.random.default_rng(seed)
    if kind == "Gaussian noise":
        noise = rng.normal(127.5, 127.5, (options.images, 32, 32, 3))
        return noise.clip(0, 255).astype(np.uint8)
    if not options.data.is_dir():
        return None
    images, labels = load_split(options.data, "train")
    share = -(-options.images // len(zoo.CLASS_NAMES))
    chosen = np.stack([rng.choice(np.flatnonzero(labels == label), share) for label in range(len(zoo.CLASS_NAMES))], 1)
    return zoo.to_rgb32(images[chosen.ravel()[: options.images]])


def _few_real(out: Path, each: int) -> Path:
    """The zoo's few-shot images, `each` a class, as the folder that `--real` takes."""
    folder = out / f"real{each}"
    pixels, labels = zoo.few_shot_set()
    for label, name in enumerate(zoo.CLASS_NAMES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(pixels[labels == label][:each]):
            Image.fromarray(image).save(folder / name / f"{number:02d}.png")
    return folder


def tables(results: Sequence[Result], options: argparse.Namespace) -> str:
    """Markdown: points of top-1 lost against float (mean and half spread over seeds) and KL, style shares, transfer."""
    mine = [result for result in results if result.images == options.images]
    columns = sorted({(r.model, r.bits) for r in mine})
    lines = [
        f"Points of top-1 lost against float, {options.images} images, mean ± half the spread over seeds / KL, nats:",
        "",
    ]
    lines += _table("calibration set", columns, ROWS, [r for r in mine if r.model == r.set_of])
    lines += ["", "Share of original-style images:", "", "| calibration set | drawn | kept |", "|---|---|---|"]
    for ingredient in INGREDIENTS:
        facts = (options.out / "sets").glob(f"{_folder_name(ingredient)}_fashion_*_{options.images}/facts.json")
        shares = [pair for pair in (json.loads(path.read_text()) for path in facts) if pair[0] is not None]
        if shares:
            drawn, kept = (statistics.fmean(column) for column in zip(*shares, strict=True))
            lines.append(f"| {ingredient} | {drawn:.0%} | {kept:.0%} |")
    transferred = [r for r in mine if r.model != r.set_of]
    if transferred:
        lines += ["", "Both filters, the set made for another network:", ""]
        lines += _table("made for", columns, sorted({r.set_of for r in transferred}), transferred, by_set=True)
    return "\n".join(lines)


@torch.inference_mode()
def variety(options: argparse.Namespace) -> str:
    """Markdown: how much the images of a class differ, and how many the float network is unsure of (first seed).

    Within-class variance: of the features in front of the classifier, by the class that the network sees, summed over
    features and averaged over images; as a share of that of real training images.
    """
    lines = [
        "Within-class variance of features against real images / share of images with a top probability below 0.9:",
        "",
        "| calibration set | " + " | ".join(options.models) + " |",
        "|---" * (len(options.models) + 1) + "|",
    ]
    seed = options.seeds[0]
    spread: dict[tuple[str, str], tuple[float, float]] = {}
    for name in options.models:
        model = load_model(_config(name, options, seed, {}).model)
        for ingredient in ROWS:
            images = load_images(calibration_set(ingredient, name, options, seed)[0], model)
            maps = model.module.forward_features(images)
            features = model.module.forward_head(maps, pre_logits=True)
            top, seen = model.module.forward_head(maps).softmax(1).max(1)
            within = [
                features[seen == label].var(0, unbiased=False).sum() * (seen == label).sum() for label in seen.unique()
            ]
            spread[ingredient, name] = float(sum(within)) / len(images), float((top < 0.9).double().mean())
    for ingredient in ROWS:
        cells = []
        for name in options.models:
            within_class, unsure = spread[ingredient, name]
            cells.append(f"{within_class / spread['real training images', name][0]:.2f} / {unsure:.0%}")
        lines.append(f"| {ingredient} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _table(
    head: str, columns: list[tuple[str, str]], names: Sequence[str], results: list[Result], by_set: bool = False
) -> list[str]:
    lines = [f"| {head} | " + " | ".join(f"{model} {bits}" for model, bits in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name in names:
        row = [r for r in results if (r.set_of if by_set else r.ingredient) == name]
        cells = [[r for r in row if (r.model, r.bits) == column] for column in columns]
        if row:
            lines.append(f"| {name} | " + " | ".join(map(_cell, cells)) + " |")
    return lines


def _cell(results: list[Result]) -> str:
    divergences = [r.kl for r in results if r.kl is not None]
    kl = f" / {statistics.fmean(divergences):.4f}" if divergences else ""
    return mean_and_spread([100 * (r.float_top1 - r.top1) for r in results]) + kl


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """`0.54 ± 0.05`, half the spread; empty where nothing was measured."""
    half = (max(values) - min(values)) / 2 if values else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {half:.{digits}f}" if values else ""


def _config(
    name: str, options: argparse.Namespace, seed: int, calibrate: dict[str, Any], bits: str = "w4a4"
) -> BuildConfig:
    weight, activation = int(bits[1]), int(bits[3])
    return BuildConfig.parse(
        {
            "model": {"name": name},
            "seed": seed,
            "calibrate": {"images": options.images, **calibrate},
            "quantize": {
                "weight_bits": weight,
                "activation_bits": activation,
                "reconstruction": {"iterations": options.iterations},
            },
        }
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(zoo.ZOO_MODELS))
    parser.add_argument("--bits", nargs="+", default=["w4a4", "w2a4"], choices=["w4a4", "w2a4", "w3a4", "w8a8"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--distill-steps", type=int, default=200)
    parser.add_argument("--transfer", action="store_true", help="also use the set of each network for the others")
    parser.add_argument("--variety", action="store_true", help="also say how varied the images of each set are")
    return parse_with_shared(parser)


def parse_with_shared(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with those added that every benchmark which quantizes the zoo on these sets has; makes `--out`."""
    parser.add_argument("--out", type=Path, required=True, help="folder for sets and results")
    parser.add_argument("--images", type=int, default=1024, help="kept images of every set")
    parser.add_argument("--iterations", type=int, default=1000, help="reconstruction steps a block")
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="folder with Fashion-MNIST's idx files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
