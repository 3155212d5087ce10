"""genq-export beside the tools that people use today, on the same networks.

    python -m venv peers-env && peers-env/bin/pip install -r benchmarks/peer_tools/requirements.txt
    python benchmarks/peers.py --out bench --peers-python peers-env/bin/python
    python benchmarks/peers.py --out bench --peers-python peers-env/bin/python --models fashion_resnet --tools NNCF

ONNX Runtime, NNCF, brevitas and MCT share an environment with pinned versions; Model Optimizer, AIMET and Quark have
one each (`--modelopt-python`, `--aimet-python`, `--quark-python`; those not named are left out). Each tool runs in a
process of its own (`peer_tools/`). Every tool gets images without real data (drawn, or made) and, in another row, real
ones: training images of Fashion-MNIST (`--data`), or photographs (`peer_photographs.py`), of which others judge.
genq-export gets no training images. Every result is a line of `peers.jsonl`, what went wrong included; a second call
measures only what is missing, and prints the tables. Every file of 8 bits is read by `verify-file`; `--codes` measures
results again that were kept without it, and takes the place of their lines.

Build seconds are of processor time. Files run in ONNX Runtime, with the option that makes 8-bit sums exact on this CPU;
results that exist only in torch are judged there. Latency: one thread, batch 1, in turns with the float file, medians.
"""

# ruff: noqa: E402 - the siblings are imported before their folder leaves the search path

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import result_lines
from grids import WIDTHS
from peer_codes import codes_of
from peer_glance import glance
from peer_networks import DISTILLED, REAL, SYNTHETIC, Floats, Network, prepare_network
from peer_process import PeerError, run_peer
from peer_tables import BITS, Result, latest, tables
from peer_tasks import DETECTOR, OCR, TaskNetwork, prepare_task
from same_answers import same_answers
from sessions import exact_session, instructions, logits_of, plain_session
from training_images import DEFAULT_FOLDER

# `export.py` beside this file is named as our package `export` is.
HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]

import onnxruntime

from export import run as export_stage
from export.audit.onnxruntime import audit_onnxruntime
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models import package
from genq_export.quantization import run as quantize_stage
from genq_export.runtimes.timing import time_in_turns, wall_clock, warm_up
from runtime_tests.verify.metrics import kl_divergence

OURS, NO_IMAGES = "genq-export", "its own"
TASKS = (DETECTOR, OCR)  # with mAP or an IoU in the place of classes
EXCLUDING = ("onnxruntime_static", "nncf_ptq", "quark_ptq")  # scripts that leave nodes in float where told
ENVIRONMENTS = {"Model Optimizer": "modelopt_python", "AIMET": "aimet_python", "Quark": "quark_python"}
AnyNetwork = Network | TaskNetwork


@dataclass(frozen=True)
class Contender:
    """A tool with settings. script: in `peer_tools/`, None for genq-export; sources: the images it is given."""

    tool: str
    settings: dict[str, Any]
    bits: tuple[str, ...]
    sources: tuple[str, ...]
    script: str | None


def contenders(network: str, options: argparse.Namespace) -> list[Contender]:
    """Everything that is measured on a network. Of brevitas GPTQ too where learning takes hours."""
    real_size = network in package.NAMES
    both, integer, uniform = (SYNTHETIC, REAL), ("W8A8",), ("W8A8", "W4A8", "W4A4")
    ours = {"iterations": options.iterations, "batch_size": options.batch_size}
    generation = {"epochs": options.mct_epochs, "images": options.mct_images, "steps": options.mct_steps}
    static = {("MinMax", False): both, ("Percentile", False): both, ("MinMax", True): (REAL,)}
    if network in TASKS:
        static = {("MinMax", False): both, ("Percentile", False): (REAL,)}
    onnx_tools = [
        *(
            Contender("ONNX Runtime", {"method": way, "reduce_range": narrow}, integer, sources, "onnxruntime_static")
            for (way, narrow), sources in static.items()
        ),
        Contender("NNCF", {"transformer": network == "fashion_vit"}, integer, both, "nncf_ptq"),
        Contender("Model Optimizer", {"method": "entropy"}, integer, both, "modelopt_ptq"),
        Contender("AIMET", {"iterations": options.peer_iterations}, uniform, both, "aimet_ptq"),
        Contender("Quark", {"config": "U8S8_AAWS"}, integer, both, "quark_ptq"),
    ]
    if network in TASKS:  # brevitas and MCT take modules, and are measured on classifiers
        head = {"head_in_float": True} if network == DETECTOR else {}
        excluding = [
            replace(one, settings=one.settings | head) for one in onnx_tools if head and one.script in EXCLUDING
        ]
        return [*_ours(network, ours), *onnx_tools, *excluding]
    return [
        *_ours(network, ours),
        *onnx_tools,
        Contender("brevitas", {"iterations": options.peer_iterations}, uniform, both, "brevitas_ptq"),
        *([Contender("brevitas", {}, ("W4A8", "W4A4"), (DISTILLED, REAL), "brevitas_ptq")] if real_size else []),
        Contender("MCT", generation, uniform, (NO_IMAGES,), "mct_gptq"),
    ]


def _ours(network: str, settings: dict[str, Any]) -> list[Contender]:
    """Without real images; and with photographs. What real images change on the zoo is in quantization.py."""
    if network not in package.NAMES:
        return [Contender(OURS, settings, BITS, (SYNTHETIC,), None)]
    return [
        Contender(OURS, settings, ("W8A8",), (SYNTHETIC, REAL), None),
        Contender(OURS, settings, ("W4A8", "W4A4-8", "W4A4"), (DISTILLED, REAL), None),
    ]


def main() -> None:
    """Measure what is missing and print the tables."""
    options = _arguments()
    path = options.out / "peers.jsonl"
    done = result_lines.read(path, Result)
    for result in result_lines.kept(path, measure(options, latest(done))):
        done.append(result)
        print(result.summary(), flush=True)
    print(f"\nCPU instructions: {instructions()}; ONNX Runtime {onnxruntime.__version__}\n")
    print(f"{glance(latest(done))}\n\n{tables(latest(done))}")


def measure(options: argparse.Namespace, done: Sequence[Result]) -> Iterator[Result]:
    """Yield every result that is not in `done`."""
    known = {result.key for result in done if not (options.codes and result.lacks_codes)}
    for name in options.models:
        wanted = []
        for contender in contenders(name, options):
            if contender.tool not in options.tools or _python(contender.tool, options) is None:
                continue
            for bits in (bits for bits in contender.bits if bits in options.bits):
                settings = json.dumps(contender.settings, sort_keys=True)
                for source in (source for source in contender.sources if source in options.sources):
                    if (name, contender.tool, settings, source, bits) not in known:
                        wanted.append((contender, settings, source, bits))
        if not wanted:
            continue
        network = prepare_task(name, options) if name in TASKS else prepare_network(name, options)
        for contender, settings, source, bits in wanted:
            if source != NO_IMAGES and source not in network.images:
                continue  # no real training images on this machine
            folder = options.out / "work" / f"{name}-{contender.tool}-{source}-{bits}".replace(" ", "_")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            what = {
                "network": name, "tool": contender.tool, "settings": settings, "source": source, "bits": bits,
                "images": len(network.images[source]) if source in network.images else 0,
            }  # fmt: skip
            try:
                made = build_ours(network, contender, source, bits, folder) if contender.script is None else None
                made = made or build_peer(network, contender, source, bits, folder, options)
                yield Result(**what, **made, **judge(network, bits, folder, options))
            except (UserError, PeerError) as error:
                yield Result(**what, error=str(error))


def _python(tool: str, options: argparse.Namespace) -> Path | None:
    python: Path | None = getattr(options, ENVIRONMENTS.get(tool, "peers_python"))
    return python


def build_ours(network: AnyNetwork, contender: Contender, source: str, bits: str, folder: Path) -> dict[str, Any]:
    """Our own quantize and export stages; W8A8 by ranges alone."""
    weights, activations = WIDTHS[bits]
    iterations = 0 if bits == "W8A8" else contender.settings["iterations"]
    door = network.door if isinstance(network, TaskNetwork) else {"name": network.name}
    config = BuildConfig.for_model(
        **door,
        weight_bits=weights,
        activation_bits=activations,
        settings=[
            f"quantize.reconstruction.iterations={iterations}",
            f"quantize.batch_size={contender.settings['batch_size']}",
        ],
    )
    workspace = Workspace.open(folder / "build")
    started = time.process_time()
    quantize_stage.run(
        workspace, config, network.model, network.images[source], folder / "partial", Progress(quiet=True)
    )
    export_stage.run(workspace, config, network.model, Progress(quiet=True))
    seconds = time.process_time() - started
    shutil.copyfile(workspace.path("model.onnx"), folder / "model.onnx")
    return {"seconds": seconds, "words": _our_words(bits, iterations)}


def _our_words(bits: str, iterations: int) -> str:
    if bits == "W8A8":
        return "ranges only"
    return f"block reconstruction, {iterations} steps a block" if iterations else "rounding in closed form"


def build_peer(
    network: AnyNetwork, contender: Contender, source: str, bits: str, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Run a tool's script in the peers' environment. Raises PeerError where it fails or takes too long."""
    job = {
        "network": network.name,
        "float_file": str(network.float_file.resolve()),
        "calibration_file": str(network.arrays.get(source, network.judging).resolve()) if source != NO_IMAGES else "",
        "judging_file": str(network.judging.resolve()),
        "weight_bits": int(bits[1]),
        "activation_bits": int(bits[3]),
        "settings": contender.settings,
    }
    facts = run_peer(_python(contender.tool, options), contender.script, folder, job, options.minutes)
    return {"seconds": facts["seconds"], "words": facts["settings"]}


def judge(network: AnyNetwork, bits: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is measured on a result: `model.onnx` where there is one, else `logits.npy`."""
    file = folder / "model.onnx"
    found: dict[str, Any] = {"judged": "in torch"}
    if file.is_file():
        session, found["judged"] = load(file)
        found |= timed(network, session, options.runs)
        found["bytes"], found["float_bytes"] = file.stat().st_size, network.float_file.stat().st_size
        found["integer_layers"], found["layers"] = integer_layers(file)
        if bits == "W8A8":
            found |= codes_of(file, np.load(network.judging, mmap_mode="r").shape[1:])
        if isinstance(network, TaskNetwork):
            return found | network.scores(session)
        # What a fake-quantized torch network and its file answer may differ: the file is what is deployed.
        logits = logits_of(session, np.load(network.judging, mmap_mode="r"))
    else:
        logits = np.load(folder / "logits.npy")
    return found | scores(logits, network)


def scores(logits: Floats, network: Network) -> dict[str, Any]:
    """Agreement with the float network, KL(float ‖ quantized) in nats, and top-1 where there are labels."""
    same = same_answers(network.answers, logits)
    found = {
        "judging": len(logits),
        "sure": same.sure,
        "agreement": same.share,
        "sure_agreement": same.sure_share,
        "kl": float(kl_divergence(network.answers, logits).mean()),
    }
    if network.labels is not None:
        found["top1"] = float((logits.argmax(1) == network.labels).mean())
        found["float_top1"] = float((network.answers.argmax(1) == network.labels).mean())
    return found


def load(file: Path) -> tuple[Any, str]:
    """A session of one thread: with exact 8-bit sums, or without where the runtime refuses the file otherwise."""
    try:
        return exact_session(file), "exact sums"
    except Exception:  # onnxruntime's exceptions have no public base class
        pass
    try:
        return plain_session(file), "sums may saturate"
    except Exception as error:
        raise PeerError(f"ONNX Runtime refuses the file: {str(error).splitlines()[0]}") from None


def timed(network: AnyNetwork, session: Any, runs: int) -> dict[str, float]:
    """Median milliseconds of a call on one image, deployed and float in turns, and the ratio."""
    image = np.load(network.judging, mmap_mode="r")[:1].copy()
    sessions = [load(network.float_file)[0], session]
    calls = [lambda session=one: session.run(None, {session.get_inputs()[0].name: image}) for one in sessions]
    measure_ms = wall_clock()
    for call in calls:
        warm_up(call, measure_ms)
    float_ms, deployed_ms = (float(value) for value in np.median(time_in_turns(calls, runs, measure_ms), axis=0))
    return {"float_ms": float_ms, "ms": deployed_ms}


def integer_layers(file: Path) -> tuple[int | None, int | None]:
    """How many layers ONNX Runtime computes in integers, and of how many; None where it cannot be told."""
    try:
        audit = audit_onnxruntime(file)
    except UserError:
        return None, None
    return sum(layer.integer for layer in audit), len(audit)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for images, work and results")
    parser.add_argument("--peers-python", type=Path, required=True, help="python of the peers' environment")
    for option in ENVIRONMENTS.values():
        parser.add_argument(f"--{option.replace('_', '-')}", type=Path, help="the same of this tool")
    parser.add_argument("--models", nargs="+", default=[*zoo.ZOO_MODELS, package.NAME, *TASKS])
    tools = (OURS, "ONNX Runtime", "NNCF", *ENVIRONMENTS, "brevitas", "MCT")
    parser.add_argument("--tools", nargs="+", default=list(tools), choices=tools)
    parser.add_argument("--bits", nargs="+", default=list(BITS), choices=BITS)
    sources = (SYNTHETIC, DISTILLED, REAL, NO_IMAGES)
    parser.add_argument("--sources", nargs="+", default=list(sources), choices=sources, help="of images")
    parser.add_argument("--codes", action="store_true", help="measure again what has no count of codes")
    parser.add_argument("--files", type=Path, help="folder of rapidocr's files, for ppocr_detection")
    parser.add_argument("--scene-images", type=int, default=256, help="drawn scenes for fashion_detector")
    parser.add_argument("--images", type=int, default=1024, help="calibration images of the zoo, of each kind")
    parser.add_argument("--iterations", type=int, default=1000, help="our reconstruction steps a block, below 8 bits")
    parser.add_argument("--peer-iterations", type=int, default=1000, help="brevitas' learned-rounding steps a layer")
    parser.add_argument("--mct-epochs", type=int, default=250, help="MCT's GPTQ epochs")
    parser.add_argument("--mct-images", type=int, default=128, help="images that MCT generates")
    parser.add_argument("--mct-steps", type=int, default=500, help="steps to generate them")
    parser.add_argument("--lite0-images", type=int, default=256, help="dead leaves for EfficientNet-Lite")
    parser.add_argument("--lite0-distilled", type=int, default=128, help="distilled images for it, below 8 bits")
    parser.add_argument("--batch-size", type=int, default=32, help="of our reconstruction steps")
    parser.add_argument("--photographs", type=Path, default=Path("photographs"), help="folder of unpacked packages")
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="folder with Fashion-MNIST's idx files")
    parser.add_argument("--runs", type=int, default=200, help="timed calls of each session")
    parser.add_argument("--minutes", type=float, default=60, help="time limit of one peer's run")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if OCR in options.models and options.files is None:
        options.models.remove(OCR)
    options.distill_steps = 0  # of calibration.py, for sets that are not made here
    return options


if __name__ == "__main__":
    main()
