"""What EfficientNet-Lite keeps without data, and the ceiling: the same engine on real photographs.

    python benchmarks/lite.py --out bench --bits W4A8 W4A4 --settings "" "reconstruction.iterations=1000"
    python benchmarks/lite.py --out bench --bits W4A8 W4A4 --sealed samples

Every row is a network of given bits, from given images (`--sources`, joined by + where several serve) and with given
settings of `quantize`, built once and kept in `--out`. It is judged by crops of photographs that calibrated nothing
(`peer_photographs.py`): they may choose settings. With `--sealed` it is judged by 1,000 other photographs
(`sealed_photographs.py`), which choose nothing, and have classes.

Agreement: with the float network's answer, on all, and where its top probability is at least 0.3. KL: mean over images,
in nats; and the paired difference from the first row of the same bits on photographs, the ceiling. Behind ± stands half
of the 95 % interval of a bootstrap over photographs.
"""

# ruff: noqa: E402 - the siblings are imported before their folder leaves the search path

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from grids import WIDTHS
from numpy.typing import NDArray
from peer_networks import DISTILLED, JUDGING_CROPS, REAL, SYNTHETIC, Network, prepare_network
from same_answers import same_answers
from scene_intervals import interval
from sealed_photographs import sealed_photographs
from sessions import exact_session, logits_of

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]

from export import run as export_stage
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.evaluation import load_images
from genq_export.models import package
from genq_export.quantization import run as quantize_stage
from runtime_tests.verify.metrics import kl_divergence

BITS = ("W8A8", "W4A8", "W4A4-8", "W4A4")
RESAMPLES = 2000
_BATCH = 50

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judge:
    """Images, what the float network says to them, and which are of one photograph.

    images: float32 [N, C, H, W]; answers: logits [N, classes]; photographs, classes: int64 [N], classes or None.
    """

    images: NDArray[np.float32]
    answers: NDArray[np.float32]
    photographs: NDArray[np.int64]
    classes: NDArray[np.int64] | None

    def half_interval(self, each: Floats) -> float:
        """Half of the 95 % interval of the mean of [N] numbers: photographs are drawn anew, with all their crops."""
        count = int(self.photographs.max()) + 1
        sums, numbers = (np.bincount(self.photographs, weights, count) for weights in (each, np.ones(len(each))))
        chosen = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
        low, high = interval(sums[chosen].sum(1) / numbers[chosen].sum(1))
        return (high - low) / 2


@dataclass(frozen=True)
class Row:
    """A build and where it lies. taken: processor seconds of quantizing and writing."""

    bits: str
    source: str
    settings: str
    file: Path
    taken: float


def main() -> None:
    """Build what is missing, print the table."""
    options = _arguments()
    for name in options.models:
        wanted = [source for sources in options.sources for source in sources.split("+")]
        network = prepare_network(name, argparse.Namespace(**vars(options) | {"sources": wanted}))
        judge = _sealed(network, options.sealed) if options.sealed else _crops(network)
        print(f"\n**{name}**, {len(judge.images)} images of {judge.photographs.max() + 1} photographs\n")
        heads = ("bits", "images", "settings", "s", "agreement, %", "where sure, %", "KL, nats", "from the ceiling")
        print(f"| {' | '.join((*heads, *(('top-1, %',) if options.sealed else ())))} |")
        print("|---" * (len(heads) + bool(options.sealed)) + "|")
        ceilings: dict[str, Floats] = {}
        for row in built(network, options):
            logits = logits_of(exact_session(row.file), judge.images)
            each = kl_divergence(judge.answers, logits)
            ceiling = ceilings.setdefault(row.bits, each) if row.source == REAL else ceilings.get(row.bits)
            print(_line(row, judge, logits, each, None if each is ceiling else ceiling), flush=True)


def built(network: Network, options: argparse.Namespace) -> Iterator[Row]:
    """The builds asked for, each made once; photographs first."""
    for bits in options.bits:
        for source in sorted(options.sources, key=lambda name: name != REAL):
            for settings in options.settings:
                label = "-".join((network.name, bits, source, *settings.split())).replace("=", "_").replace("/", "_")
                folder = options.out / "lite" / label
                file = folder / "model.onnx"
                if not file.is_file():
                    build(network, bits, source, settings, folder)
                yield Row(bits, source, settings, file, float((folder / "seconds.txt").read_text()))


def build(network: Network, bits: str, source: str, settings: str, folder: Path) -> None:
    """Quantize and export; only the file and what it took are left."""
    weights, activations = WIDTHS[bits]
    config = BuildConfig.for_model(
        network.name, weight_bits=weights, activation_bits=activations, preset="quick",
        settings=["quantize.sensitivity=false", *(f"quantize.{part}" for part in settings.split())],
    )  # fmt: skip
    images = [path for name in source.split("+") for path in network.images[name]]
    workspace = Workspace.open(folder / "build")
    started = time.process_time()
    quantize_stage.run(workspace, config, network.model, images, folder / "partial", Progress(quiet=True))
    export_stage.run(workspace, config, network.model, Progress(quiet=True))
    (folder / "seconds.txt").write_text(f"{time.process_time() - started:.0f}")
    workspace.path("model.onnx").replace(folder / "model.onnx")
    shutil.rmtree(workspace.folder)
    shutil.rmtree(folder / "partial", ignore_errors=True)


def _line(row: Row, judge: Judge, logits: NDArray[np.float32], each: Floats, ceiling: Floats | None) -> str:
    same = same_answers(judge.answers, logits)
    cells = [
        row.bits, row.source, row.settings or "closed form", f"{row.taken:.0f}", f"{100 * same.share:.1f}",
        f"{100 * same.sure_share:.1f}", f"{each.mean():.3f} ± {judge.half_interval(each):.3f}",
    ]  # fmt: skip
    if ceiling is None:
        cells.append("–")
    else:
        cells.append(f"{(each - ceiling).mean():+.3f} ± {judge.half_interval(each - ceiling):.3f}")
    if judge.classes is not None:
        right, best = (100 * (answers.argmax(1) == judge.classes).mean() for answers in (logits, judge.answers))
        cells.append(f"{right:.1f} (float {best:.1f})")
    return f"| {' | '.join(cells)} |"


def _crops(network: Network) -> Judge:
    images = np.load(network.judging)
    return Judge(images, network.answers, np.arange(len(images)) // JUDGING_CROPS, None)


@torch.inference_mode()
def _sealed(network: Network, folder: Path) -> Judge:
    paths = sealed_photographs(folder)
    images = np.concatenate([load_images([path], network.model).numpy() for path in paths])
    answers = torch.cat([network.model.module(batch) for batch in torch.from_numpy(images).split(_BATCH)]).numpy()
    return Judge(images, answers, np.arange(len(paths)), np.arange(len(paths)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for images, builds and results")
    parser.add_argument("--models", nargs="+", default=[package.NAME], choices=package.NAMES)
    parser.add_argument("--bits", nargs="+", default=["W8A8", "W4A8", "W4A4"], choices=BITS)
    parser.add_argument(
        "--sources", nargs="+", default=[REAL, DISTILLED], help=f"{REAL}, {DISTILLED}, {SYNTHETIC}, a+b"
    )
    parser.add_argument("--settings", nargs="+", default=[""], help="of quantize, blank between two; each a row")
    parser.add_argument("--sealed", type=Path, help="clone of the sealed photographs; without it, crops")
    parser.add_argument("--lite0-images", type=int, default=256, help="dead leaves")
    parser.add_argument("--lite0-distilled", type=int, default=128, help="distilled images")
    parser.add_argument("--photographs", type=Path, default=Path("photographs"), help="folder of unpacked packages")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
