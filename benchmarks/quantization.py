"""Top-1 that quantization costs on Fashion-MNIST's test set, PTQ and QAT on synthetic images, by network and bits.

    python benchmarks/quantization.py --out bench                     # everything; hours on two cores
    python benchmarks/quantization.py --out bench --models fashion_resnet --columns "W4A4 PTQ" --seeds 0
    python benchmarks/quantization.py --out bench --columns "W4A4 PTQ" --real    # the same on real training images

A seed decides the images drawn and every draw of the reconstruction. The test images only judge: no setting is chosen
by them. W8A8 is range search alone (`--preset quick`); QAT goes on from the PTQ solution of the same row. Every result
is a line of `results.jsonl`; a second call measures only what is missing, and prints the tables: points lost, KL from
float, and what QAT changes in KL, image by image. `--real` needs Fashion-MNIST's idx files (`--data`).
"""

import argparse
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import result_lines
from calibration import calibration_set, judged, mean_and_spread, parse_with_shared, test_answers
from numpy.typing import NDArray
from paired import paired_change

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.quantization import run as quantize_stage

COLUMNS = ("W8A8", "W4A4 PTQ", "W4A4 QAT", "W2A4 PTQ", "W2A4 QAT")
SYNTHETIC, REAL = "energy and distribution", "real training images"
# What was asked of each network and column: points of top-1 lost at most.
ASKED = {
    "fashion_resnet": (0.1, 0.5, 0.3, 2.5, 1.0),
    "fashion_mobilenet": (0.2, 1.5, 0.7, 6.0, 2.5),
    "fashion_vit": (0.2, 1.5, 0.8, 5.0, 2.5),
}


@dataclass(frozen=True)
class Result:
    """One quantized network. kl: from float, mean over the test images, nats; None where it was not measured."""

    model: str
    column: str
    images_of: str
    seed: int
    images: int
    iterations: int
    epochs: int
    top1: float
    float_top1: float
    seconds: float
    kl: float | None = None

    @property
    def loss(self) -> float:
        """Points of top-1 lost."""
        return 100 * (self.float_top1 - self.top1)


def main() -> None:
    """Measure what is missing and print the table."""
    options = _arguments()
    path = options.out / "results.jsonl"
    done = result_lines.read(path, Result)
    for result in result_lines.kept(path, measure(options, done)):
        done.append(result)
        print(
            f"{result.model} {result.column} {result.images_of} seed {result.seed}: {result.loss:+.2f} points lost,"
            f" {result.seconds:.0f} s of computing",
            flush=True,
        )
    print(table(done, options))


def measure(options: argparse.Namespace, done: Sequence[Result]) -> Iterator[Result]:
    """Yield every result that is not in `done`."""
    known = {(r.model, r.column, r.images_of, r.seed) for r in _alike(done, options)}
    for seed in options.seeds:
        for name in options.models:
            model = load_model(build_config(name, "W8A8", options, seed).model)
            floats = test_answers(model.module, model)
            images_of = REAL if options.real else SYNTHETIC
            for column in options.columns:
                if (name, column, images_of, seed) in known:
                    continue
                images, _ = calibration_set(images_of, name, options, seed)
                if not images:
                    raise SystemExit(f"no real training images in {options.data}")
                partial = partial_folder(name, column, images_of, options, seed)
                workspace = Workspace.open(options.out / "builds" / f"{partial.name}-{column[5:]}")
                config = build_config(name, column, options, seed)
                started = time.process_time()
                quantize_stage.run(workspace, config, model, images, partial, Progress())
                seconds = time.process_time() - started  # unlike the clock's, the same beside other work
                found = judged(load_reference(workspace.folder), model, floats)
                kept = _divergence_file(options.out, name, column, images_of, seed)
                kept.parent.mkdir(exist_ok=True)
                np.save(kept, found.divergence)
                if column.endswith("QAT"):
                    shutil.rmtree(partial)
                settings = config.quantize
                yield Result(
                    *(
                        name,
                        column,
                        images_of,
                        seed,
                        options.images,
                        settings.reconstruction.iterations,
                        settings.qat.epochs,
                    ),
                    *(found.top1, floats.top1, seconds, float(found.divergence.mean())),
                )


def _alike(results: Sequence[Result], options: argparse.Namespace) -> list[Result]:
    """Those measured with these options."""
    wanted = {(options.images, _iterations(column, options), column) for column in COLUMNS}
    return [r for r in results if (r.images, r.iterations, r.column) in wanted]


def _iterations(column: str, options: argparse.Namespace) -> int:
    return 0 if column == "W8A8" else int(options.iterations)


def table(results: Sequence[Result], options: argparse.Namespace) -> str:
    """Markdown: points lost beside what was asked, and KL; mean ± half the spread over seeds; what QAT changes."""
    mine = _alike(results, options)
    lines = []
    for images_of in (SYNTHETIC, REAL):
        chosen = [r for r in mine if r.images_of == images_of]
        if not chosen:
            continue
        from_these = f"{options.images} images ({images_of}), mean ± half the spread over seeds:"
        lines += [f"Points of top-1 lost, {from_these}", "", *_rows(chosen, _points), ""]
        lines += [f"KL from float, nats, {from_these}", "", *_rows(chosen, _divergence), ""]
        lines += ["What QAT changes in KL, paired over images and seeds, with its 95 % interval:", ""]
        lines += [*_changed_by_qat(images_of, options), ""]
    return "\n".join(lines)


def _rows(chosen: Sequence[Result], cell: Callable[[Sequence[Result], float], str]) -> Iterator[str]:
    yield from ("| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|")
    for name, asked in ASKED.items():
        columns = ([r for r in chosen if (r.model, r.column) == (name, column)] for column in COLUMNS)
        yield f"| {name} | " + " | ".join(map(cell, columns, asked)) + " |"


def _points(results: Sequence[Result], limit: float) -> str:
    losses = [r.loss for r in results]
    return f"{mean_and_spread(losses)} of {len(losses)} (≤ {limit:g})" if losses else ""


def _divergence(results: Sequence[Result], _limit: float) -> str:
    found = [r.kl for r in results if r.kl is not None]
    return mean_and_spread(found, digits=4)


def _changed_by_qat(images_of: str, options: argparse.Namespace) -> Iterator[str]:
    """Images are what the interval is over: each counts with the mean of its seeds."""
    yield from ("| | W4A4 | W2A4 |", "|---|---|---|")
    for name in options.models:
        cells = []
        for bits in ("W4A4", "W2A4"):
            pairs = [[_divergence_file(options.out, name, f"{bits} {kind}", images_of, seed) for kind in ("PTQ", "QAT")]
                     for seed in options.seeds]  # fmt: skip
            there = [[np.load(file) for file in pair] for pair in pairs if all(file.is_file() for file in pair)]
            cells.append(_share_changed(*np.mean(there, 0)) if there else "")
        yield f"| {name} | " + " | ".join(cells) + " |"


def _share_changed(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    share, half = (100 * part / before.mean() for part in paired_change(after, before))
    return f"{share:+.1f} ± {half:.1f} %"


def _divergence_file(out: Path, name: str, column: str, images_of: str, seed: int) -> Path:
    """Of one result, KL of every test image."""
    kind = images_of.split()[0]
    return out / "divergence" / f"{name}-{column.replace(' ', '-')}-{kind}-{seed}.npy"


def partial_folder(name: str, column: str, images_of: str, options: argparse.Namespace, seed: int) -> Path:
    """Of finished blocks. PTQ and QAT of a row share it, so QAT goes on where PTQ ended."""
    folder: Path = options.out / "partial" / f"{name}-{column[:4]}-{images_of.split()[0]}-{seed}"
    return folder


def build_config(name: str, column: str, options: argparse.Namespace, seed: int) -> BuildConfig:
    """The build of a column. options: images, iterations, epochs, and `set`, further settings of quantize."""
    return BuildConfig.for_model(
        name,
        weight_bits=int(column[1]),
        activation_bits=int(column[3]),
        images=options.images,
        qat_epochs=options.epochs if column.endswith("QAT") else 0,
        seed=seed,
        settings=[
            f"quantize.{setting}"
            for setting in (f"reconstruction.iterations={_iterations(column, options)}", *options.set)
        ],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(zoo.ZOO_MODELS))
    parser.add_argument("--columns", nargs="+", default=list(COLUMNS), choices=COLUMNS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20, help="epochs of QAT")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="of quantize; use another --out")
    parser.add_argument("--real", action="store_true", help="real training images instead of synthetic ones")
    return parse_with_shared(parser)


if __name__ == "__main__":
    main()
