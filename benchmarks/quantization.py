"""Top-1 that quantization costs on Fashion-MNIST's test set, PTQ and QAT on synthetic images, by network and bits.

    python benchmarks/quantization.py --out bench                     # everything; hours on two cores
    python benchmarks/quantization.py --out bench --models fashion_resnet --columns "W4A4 PTQ" --seeds 0
    python benchmarks/quantization.py --out bench --columns "W4A4 PTQ" --real    # the same on real training images

A seed decides the images drawn and every draw of the reconstruction. The test images only judge: no setting is chosen
by them. W8A8 is range search alone (`--preset quick`); QAT goes on from the PTQ solution of the same row. Every result
is a line of `results.jsonl`; a second call measures only what is missing, and prints the table. `--real` needs
Fashion-MNIST's idx files (`--data`).
"""

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import result_lines
from calibration import accuracy, calibration_set, mean_and_spread, parse_with_shared

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
    """One quantized network."""

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
            float_top1 = accuracy(model.module, model)
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
                top1 = accuracy(load_reference(workspace.folder), model)
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
                    *(top1, float_top1, seconds),
                )


def _alike(results: Sequence[Result], options: argparse.Namespace) -> list[Result]:
    """Those measured with these options."""
    wanted = {(options.images, _iterations(column, options), column) for column in COLUMNS}
    return [r for r in results if (r.images, r.iterations, r.column) in wanted]


def _iterations(column: str, options: argparse.Namespace) -> int:
    return 0 if column == "W8A8" else int(options.iterations)


def table(results: Sequence[Result], options: argparse.Namespace) -> str:
    """Markdown: points lost, mean ± half the spread over seeds, and what was asked."""
    mine = _alike(results, options)
    lines = []
    for images_of in (SYNTHETIC, REAL):
        chosen = [r for r in mine if r.images_of == images_of]
        if not chosen:
            continue
        lines += [
            f"Points of top-1 lost, {options.images} images ({images_of}), mean ± half the spread over seeds:",
            "",
        ]
        lines += ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        for name, asked in ASKED.items():
            cells = []
            for column, limit in zip(COLUMNS, asked, strict=True):
                losses = [r.loss for r in chosen if (r.model, r.column) == (name, column)]
                cells.append(_cell(losses, limit))
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(losses: list[float], limit: float) -> str:
    return f"{mean_and_spread(losses)} of {len(losses)} (≤ {limit:g})" if losses else ""


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
