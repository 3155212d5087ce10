"""Which runtimes take the files that a build exports, and with which numbers: prints docs/runtimes.md's table.

    python -m benchmarks.edge.runtimes --work FOLDER [--only NAME ...]

Makes the zoo's networks (fashion_resnet, …) in the form for ONNX Runtime (ranges of 64 images, no rounding ties,
nothing learned), and an environment for each runtime below FOLDER; nothing is installed elsewhere. Every runtime
computes 128 test images one by one. Truth is the integer model. Results are kept in FOLDER/runtimes.jsonl: a second
call measures what is missing.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.edge.environments import in_own_environment, install, reason_of
from benchmarks.edge.runtimes_table import Result, table
from benchmarks.result_lines import kept, read

TOOLS = Path(__file__).with_name("runtime_tools")
NETWORKS = ("resnet", "mobilenet", "vit")
FORMS = {"W8A8": (8, True), "W4A4": (4, True), "W4A4 in INT8": (4, False)}  # bits, and store four bits in four
IMAGES = 128


@dataclass(frozen=True)
class Contender:
    """A runtime: its packages, of PyPI (`job`.py) or of npm, and what else its job is told."""

    title: str
    packages: tuple[str, ...]
    job: str
    settings: tuple[tuple[str, str], ...] = ()
    npm: bool = False


def _onnxruntime(version: str, numpy: str = "numpy") -> Contender:
    return Contender(f"ONNX Runtime {version}", (f"onnxruntime=={version}", numpy), "onnxruntime_job")


_OLD = "numpy<2"
_OPENVINO = ("openvino==2026.4.1",)
CONTENDERS = (
    _onnxruntime("1.32.0"), _onnxruntime("1.23.2"), _onnxruntime("1.22.1", _OLD), _onnxruntime("1.20.1", _OLD),
    _onnxruntime("1.18.1", _OLD), _onnxruntime("1.16.3", _OLD),
    Contender("onnxruntime-node 1.30.0", ("onnxruntime-node@1.30.0",), "onnxruntime-node", npm=True),
    Contender("onnxruntime-web 1.30.0, in Node", ("onnxruntime-web@1.30.0",), "onnxruntime-web", npm=True),
    Contender("OpenVINO 2026.4.1, batch of one", _OPENVINO, "openvino_job"),
    Contender("OpenVINO 2026.4.1, free batch", _OPENVINO, "openvino_job", (("BATCH", "free"),)),
    Contender("tract 0.23.9", ("tract==0.23.9", "numpy"), "tract_job"),
    Contender("IREE 3.13.0", ("iree-base-compiler[onnx]==3.13.0", "iree-base-runtime==3.13.0"), "iree_job"),
    Contender("TVM 0.27.0", ("apache-tvm==0.27.0.post1", "onnx"), "tvm_job"),
    Contender("OpenCV 5.0.0", ("opencv-python-headless==5.0.0.93",), "opencv_job"),
)  # fmt: skip


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for environments, files and results")
    parser.add_argument("--only", nargs="*", default=[], help="parts of titles")
    options = parser.parse_args()
    work = options.work.resolve()
    chosen = [c for c in CONTENDERS if not options.only or any(part in c.title for part in options.only)]
    results = work / "runtimes.jsonl"
    for result in kept(results, _missing(work, chosen, {item.key for item in read(results, Result)})):
        print(result.summary(), file=sys.stderr, flush=True)
    titles = [contender.title for contender in CONTENDERS]
    print(table(sorted(read(results, Result), key=lambda result: titles.index(result.runtime))))


def _missing(work: Path, contenders: list[Contender], known: set[tuple[str, str]]) -> Iterator[Result]:
    for network in NETWORKS:
        for form, (bits, int4_storage) in FORMS.items():
            file = f"{network} {form}"
            todo = [contender for contender in contenders if (contender.title, file) not in known]
            if todo:
                place = made(work / "files", network, bits, int4_storage)
                yield from (_measured(work, contender, file, place) for contender in todo)


def made(home: Path, network: str, bits: int, int4_storage: bool) -> Path:
    """A folder with `model.onnx`, `inputs.npy`, and `truth.npy`: logits of the integer model, image by image."""
    place = home / f"{network}-{bits}{'' if int4_storage else '-int8'}"
    if (place / "truth.npy").is_file():
        return place
    import torch

    from export.fold import fold
    from genq_export import zoo
    from genq_export.config.build import BuildConfig
    from genq_export.models.source import load_model
    from genq_export.quantization.prepare import calibrate_ranges, prepare
    from genq_export.quantization.rounding_ties import avoid_ties
    from genq_export.targets import target

    torch.set_num_threads(1)
    place.mkdir(parents=True, exist_ok=True)
    settings = [f"export.int4_storage={str(int4_storage).lower()}"]
    config = BuildConfig.for_model(f"fashion_{network}", bits=bits, settings=settings)
    model, form = load_model(config.model), target("onnxruntime")
    prepared, _ = prepare(model.module, model.input_size, config.quantize, form.rule)
    calibrate_ranges(prepared, [model.normalize(torch.from_numpy(zoo.few_shot_set()[0][:64]))])
    avoid_ties(prepared)
    integer = fold(prepared)
    form.emit(integer, model.input_size, config.export, place / "model.onnx")
    inputs = model.normalize(torch.from_numpy(zoo.test_set()[0][:IMAGES]))
    with torch.no_grad():
        truth = torch.cat([integer(image[None]) for image in inputs])
    np.save(place / "inputs.npy", inputs.numpy())
    inputs.numpy().tofile(place / "inputs.f32")
    np.save(place / "truth.npy", truth.numpy())
    return place


def _measured(work: Path, contender: Contender, file: str, place: Path) -> Result:
    try:
        environment = install(work, contender.packages, contender.npm)
        facts, logits = (_in_node if contender.npm else _in_python)(environment, contender, place)
    except subprocess.SubprocessError as error:
        return Result(contender.title, file, error=reason_of(error))
    truth = np.load(place / "truth.npy")
    if logits.shape != truth.shape:
        return Result(contender.title, file, error=f"answers of shape {logits.shape} in place of {truth.shape}")
    return Result(
        contender.title,
        file,
        version=facts["version"],
        equal=int((logits == truth).all(1).sum()),
        gap=float(np.abs(logits - truth).max()),
        same=int((logits.argmax(1) == truth.argmax(1)).sum()),
        images=len(truth),
        integer=facts["integer"],
        layers=facts["layers"],
    )


def _in_python(environment: Path, contender: Contender, place: Path) -> tuple[dict[str, object], np.ndarray]:
    job, logits = TOOLS / f"{contender.job}.py", place / "logits.npy"
    command = [environment / "bin" / "python", job, place / "model.onnx", place / "inputs.npy", logits]
    said = in_own_environment(command, environment, dict(contender.settings))
    return json.loads(said.splitlines()[-1]), np.load(logits)


def _in_node(environment: Path, contender: Contender, place: Path) -> tuple[dict[str, object], np.ndarray]:
    logits, shape = place / "logits.f32", np.load(place / "inputs.npy", mmap_mode="r").shape[1:]
    files = [place / "model.onnx", place / "inputs.f32", logits, ",".join(map(str, shape))]
    said = in_own_environment(["node", TOOLS / "node_job.mjs", contender.job, *files], environment)
    found = np.fromfile(logits, np.float32)
    return json.loads(said.splitlines()[-1]), found.reshape(len(np.load(place / "truth.npy")), -1)


if __name__ == "__main__":
    main()
