"""Faults planted in builds, and which check catches each: `python -m benchmarks.faults [--set chosen|judged]`.

Builds are small and quick: ranges alone, calibrated on dead leaves. The thresholds of `runtime_tests.verify.gates` were
set on CHOSEN; JUDGED are other networks and seeds, which had no say. Faults in the reference are caught by what is
measured against float; the integer model and the file are held against the reference number by number besides
(`runtime_tests.verify.lineage`), where nothing of this size passes.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from export.fold import fold
from genq_export.config.build import BuildConfig
from genq_export.config.verify import GatesConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.dead_leaves import pictures
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.files import load_reference, save_integer_model
from genq_export.network.interpreter import GraphNetwork
from genq_export.runtimes.torch_modules import TorchBackend, float_backend
from genq_export.tasks.classification import CLASSIFICATION
from runtime_tests.verify import gates
from runtime_tests.verify.float_distance import HELD_OUT, InFloat, held_out_images, output_distances
from runtime_tests.verify.layer_quality import weight_quality
from runtime_tests.verify.lineage import unlike_reference
from runtime_tests.verify.results import Machine, Verification

CALIBRATION_IMAGES = 48
_STEPS = 100
_QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Case:
    """One build. seed: of calibration and, where `random`, of the network's weights. learned: by the default methods,
    with few steps; else ranges alone."""

    model: str
    bits: int
    target: str
    seed: int = 0
    random: bool = False
    learned: bool = False

    @property
    def title(self) -> str:
        """As the table calls it."""
        random = f", random weights {self.seed}" if self.random else f", seed {self.seed}" if self.seed else ""
        learned = ", learned" if self.learned else ""
        return f"{self.model} W{self.bits}A{self.bits} {self.target}{random}{learned}"


CHOSEN = tuple(
    Case(model, bits, target)
    for model in ("fashion_resnet", "fashion_vit")
    for bits in (8, 4)
    for target in ("onnxruntime", "tensorrt")
) + tuple(Case("fashion_resnet", bits, "onnxruntime", learned=True) for bits in (4, 3, 2))
JUDGED = (
    *(Case("fashion_mobilenet", bits, target) for bits in (8, 4) for target in ("onnxruntime", "tensorrt")),
    *(Case(model, bits, "onnxruntime", 7) for model in ("fashion_resnet", "fashion_vit") for bits in (8, 4)),
    *(Case("fashion_mobilenet", bits, "onnxruntime", 7, learned=True) for bits in (4, 3)),
    *(
        Case(model, bits, "onnxruntime", seed, random=True)
        for model in ("test_resnet", "test_vit", "test_efficientnet")
        for bits in (8, 4)
        for seed in (1,)
    ),
)


@dataclass(frozen=True)
class Fault:
    """Something done to one part of a reference. parts: which parts it can be done to."""

    title: str
    parts: Callable[[GraphNetwork], list[Any]]
    plant: Callable[[Any, np.random.Generator], None]


def _layers(network: GraphNetwork) -> list[Any]:
    """Those that compute something: networks are made with layers of zeros."""
    return [part for part in network.modules() if isinstance(part, QuantizedLayer) and part.codes.any()]


def _biased(network: GraphNetwork) -> list[Any]:
    return [part for part in _layers(network) if part.bias.any()]


def _quantizers(network: GraphNetwork) -> list[Any]:
    return [part for part in network.modules() if isinstance(part, ActivationQuantizer)]


def _weight_scale(part: Any, _: np.random.Generator) -> None:
    part.weight_scale.mul_(1.5)


def _scale(part: Any, _: np.random.Generator) -> None:
    part.scale.mul_(1.5)


def _zero_channel(part: Any, rng: np.random.Generator) -> None:
    used = torch.nonzero(part.codes.flatten(1).any(1)).flatten().tolist()
    part.codes[int(rng.choice(used))] = 0


def _no_bias(part: Any, _: np.random.Generator) -> None:
    part.bias.zero_()


def _swap(part: Any, rng: np.random.Generator) -> None:
    one, other = rng.choice(len(part.codes), 2, replace=False)
    part.codes[[one, other]] = part.codes[[other, one]].clone()


FAULTS = (
    Fault("one weight scale x 1.5", _layers, _weight_scale),
    Fault("one activation scale x 1.5", _quantizers, _scale),
    Fault("one channel zeroed", _layers, _zero_channel),
    Fault("one bias dropped", _biased, _no_bias),
    Fault("two channels swapped", _layers, _swap),
)


def build(case: Case, home: Path) -> tuple[LoadedModel, Workspace, BuildConfig, list[Path]]:
    """Quantize: dead leaves of the case's seed, ranges alone."""
    from genq_export.quantization.run import run as run_quantize

    preset = "default" if case.learned else "quick"
    values = BuildConfig.for_model(case.model, preset=preset, bits=case.bits, target=case.target).model_dump(
        mode="json"
    )
    if case.learned:
        values["quantize"]["reconstruction"]["iterations"] = _STEPS
    else:
        values["quantize"]["methods"] = []
    config = BuildConfig.parse(values).on_chosen_device()
    model = _network(case, config)
    drawn = pictures(*model.input_size[1:], range(1000 * case.seed, 1000 * case.seed + CALIBRATION_IMAGES))
    paths = [home / f"{number:03d}.png" for number in range(len(drawn))]
    for path, pixels in zip(paths, drawn, strict=True):
        Image.fromarray(pixels).save(path)
    workspace = Workspace.open(home / "build")
    run_quantize(workspace, config, model, paths, home / "partial", _QUIET)
    return model, workspace, config, paths


def _network(case: Case, config: BuildConfig) -> LoadedModel:
    if not case.random:
        return load_model(config.model)
    import timm

    torch.manual_seed(case.seed)
    module = timm.create_model(case.model, pretrained=False, num_classes=10).eval()
    for part in module.modules():  # statistics as of a network that was trained, not 0 and 1
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    size = 64
    return LoadedModel(case.model, module, (3, size, size), (0.5,) * 3, (0.25,) * 3, 1.0, "bilinear", None, 10)


class Judge:
    """Judges the reference of one build by what verify measures of float."""

    def __init__(self, model: LoadedModel, workspace: Workspace, config: BuildConfig, calibration: list[Path]) -> None:
        self._float = float_backend(model.module)
        self._sets = {HELD_OUT: held_out_images(model), "calibration": [load_images(calibration, model).numpy()]}
        self._config, self._workspace = config, workspace

    def __call__(self, reference: GraphNetwork) -> tuple[list[str], float]:
        """Names of the gates that fail, and the least signal to noise of the outputs, dB."""
        backend = TorchBackend("reference", "reference", reference)
        backends = {"reference": backend, "reference in float": InFloat(backend)}
        found, _ = output_distances(self._float, backends, self._sets, CLASSIFICATION)
        run = Verification(
            machine=Machine(name="", cpu="", cores=1, memory_gib=1, system=""), date="", artefacts={}, versions={},
            deployed="reference", evaluation=None, backends=(),
            from_float=found, weights=weight_quality(reference),
        )  # fmt: skip
        judged = gates.against_float(run, GatesConfig(), self._config.quantize)
        failed = [gate.name for gate in judged if isinstance(gate, gates.Gate) and not gate.passed]
        furthest = gates.deployed_from_float(run)
        return failed, -300.0 if furthest is None or furthest.sqnr_db is None else furthest.sqnr_db


@dataclass(frozen=True)
class Row:
    """A fault in one build. caught: by the names of gates, "" none; drops: of the outputs' signal to noise, dB."""

    fault: str
    planted: int
    caught: int
    by: dict[str, int]
    unseen_drop: float


def faults_of(reference: GraphNetwork, judge: Judge, honest: float) -> Iterator[Row]:
    """Plant every fault in every part, one at a time."""
    for fault in FAULTS:
        caught, by, unseen = 0, Counter[str](), 0.0
        parts = fault.parts(reference)
        for number, part in enumerate(parts):
            kept = {name: tensor.clone() for name, tensor in part.state_dict().items()}
            fault.plant(part, np.random.default_rng(number))
            failed, sqnr = judge(reference)
            part.load_state_dict(kept)
            caught += bool(failed)
            by.update(failed)
            if not failed:
                unseen = max(unseen, honest - sqnr)
        yield Row(fault.title, len(parts), caught, dict(by), unseen)


def lost_divisor(reference: GraphNetwork, judge: Judge) -> list[str] | None:
    """What a pooling gives is four times as much; None where there is no pooling."""
    aten = torch.ops.aten
    network = reference.copy()
    for node in network.graph.nodes:
        if node.target in (aten.mean.dim, aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default):
            with network.graph.inserting_after(node):
                sums = network.graph.call_function(aten.mul.Tensor, (node, 4.0))
            node.replace_all_uses_with(sums)
            sums.args = (node, 4.0)  # which now read themselves
            return judge(network.eval())[0]
    return None


def in_integer_model(workspace: Workspace) -> tuple[int, int]:
    """The same faults in the integer model alone: how many were planted, and how many `lineage` saw."""
    reference = load_reference(workspace.folder)
    planted = seen = 0
    for fault in FAULTS:
        for number in range(len(fault.parts(reference))):
            harmed = load_reference(workspace.folder)
            fault.plant(fault.parts(harmed)[number], np.random.default_rng(number))
            save_integer_model(fold(harmed), workspace.folder)
            planted += 1
            seen += bool(unlike_reference(workspace.folder))
    return planted, seen


def run_case(case: Case) -> None:
    """Print one build's lines of the table."""
    with tempfile.TemporaryDirectory() as home:
        model, workspace, config, images = build(case, Path(home))
        judge = Judge(model, workspace, config, images)
        reference = load_reference(workspace.folder)
        failed, honest = judge(reference)
        worst = min((item.worst_db or 300.0, item.bits) for item in weight_quality(reference))
        verdict = "passes" if not failed else f"FAILS {', '.join(failed)}"
        print(f"| {case.title} | honest | {verdict} | {honest:.1f} dB, worst channel {worst[0]:.1f} dB |", flush=True)
        for row in faults_of(reference, judge, honest):
            by = ", ".join(f"{name} {count}" for name, count in sorted(row.by.items()))
            unseen = f"; unseen ones cost at most {row.unseen_drop:.1f} dB" if row.caught < row.planted else ""
            print(f"| | {row.fault} | {row.caught} of {row.planted} | {by}{unseen} |", flush=True)
        failed_by = lost_divisor(reference, judge)
        if failed_by is not None:
            print(f"| | pooling divisor lost | {int(bool(failed_by))} of 1 | {', '.join(failed_by)} |", flush=True)
        planted, seen = in_integer_model(workspace)
        print(f"| | all of these in the integer model | {seen} of {planted} | constants |", flush=True)


def main() -> None:
    """Print the table of the builds that the thresholds were set on, and of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("chosen", "judged", "all"), default="all")
    chosen = parser.parse_args().set
    torch.set_num_threads(1)
    for name, cases in (("chosen", CHOSEN), ("judged", JUDGED)):
        if chosen in (name, "all"):
            print(f"\n{name}:\n\n| build | fault | caught | by |\n|---|---|---|---|")
            for case in cases:
                run_case(case)


if __name__ == "__main__":
    main()
