"""Faults planted in builds, and which check catches each: `python -m benchmarks.faults [--set judged]`.

Builds are small and quick, calibrated on 48 dead leaves. The thresholds of `runtime_tests.verify.gates` and
`weight_faults` were set on CHOSEN; JUDGED, RANDOM and FAMILIES are other networks and seeds, which had no say. Faults
in the reference are caught by what is measured against float; the integer model and the file are held against the
reference number by number besides (`runtime_tests.verify.lineage`), where nothing of this size passes.
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
from runtime_tests.verify.exchange import NEARER
from runtime_tests.verify.float_distance import HELD_OUT, InFloat, held_out_images, output_distances
from runtime_tests.verify.gate import Gate
from runtime_tests.verify.layer_quality import weight_quality
from runtime_tests.verify.lineage import unlike_reference
from runtime_tests.verify.range_quality import range_quality, searched_scales
from runtime_tests.verify.results import Machine, RangeQuality, Verification
from runtime_tests.verify.weight_faults import RANGE_LEARNED

CALIBRATION_IMAGES = 48
_PARTS = 8  # of a network that a fault is planted in, at most
_QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Case:
    """One build. grid: bits of weights and of activations. how: `ranges` alone, `gptq` as the preset "quick" has it,
    or `learned` in so many steps. seed: of calibration and, where `random`, of the network's weights."""

    model: str
    grid: tuple[int, int]
    how: str = "ranges"
    target: str = "onnxruntime"
    seed: int = 0
    random: bool = False
    steps: int = 100

    @property
    def title(self) -> str:
        """As the table calls it."""
        random = f", random weights {self.seed}" if self.random else f", seed {self.seed}" if self.seed else ""
        how = f"{self.steps} steps" if self.how == "learned" else self.how
        return f"{self.model} W{self.grid[0]}A{self.grid[1]} {self.target}{random}, {how}"


CHOSEN = (
    *(
        Case(model, grid, how)
        for model in ("fashion_resnet", "fashion_vit")
        for grid, how in (((4, 4), "ranges"), ((4, 4), "gptq"), ((8, 8), "learned"), ((2, 4), "learned"))
    ),
)
JUDGED = (
    *(Case("fashion_mobilenet", grid) for grid in ((8, 8), (4, 4))),
    Case("fashion_mobilenet", (4, 4), target="tensorrt"),
    Case("fashion_mobilenet", (4, 4), "gptq"),
    *(Case("fashion_mobilenet", grid, "learned") for grid in ((8, 8), (4, 4), (2, 4))),
    *(Case(model, (4, 4), "learned", seed=7) for model in ("fashion_resnet", "fashion_vit")),
)
RANDOM = tuple(
    Case(model, (4, 4), how, seed=1, random=True)
    for model in ("test_resnet", "test_vit", "test_efficientnet")
    for how in ("gptq", "learned")
)
# As the default preset learns: how far activation scales move, and how many faults of theirs that hides.
LEARNED = tuple(
    Case(model, grid, "learned", steps=1000)
    for model in ("fashion_resnet", "fashion_vit")
    for grid in ((8, 8), (4, 8), (4, 4), (2, 4))
)
# Small members of families, and the sides of their inputs: honest builds alone, of random weights.
SIDES = {
    "convnext_atto": 64, "deit_tiny_patch16_224": 32, "densenet121": 64, "edgenext_xx_small": 64,
    "efficientnet_lite0": 64, "ghostnet_050": 64, "mixer_s32_224": 0, "mobilenetv3_small_050": 64,
    "mobilevitv2_050": 64, "regnety_002": 64, "repvgg_a0": 64, "resnet18": 64, "starnet_s050": 64,
    "swin_tiny_patch4_window7_224": 56, "tinynet_e": 64,
}  # fmt: skip
FAMILIES = tuple(
    Case(model, grid, how, seed=1, random=True)
    for model in SIDES
    for grid, how in (((8, 8), "ranges"), ((4, 4), "gptq"))
)

SETS = {"chosen": CHOSEN, "judged": JUDGED, "random": RANDOM, "learned": LEARNED, "families": FAMILIES}


@dataclass(frozen=True)
class Fault:
    """Something done to one part of a reference. candidates: which parts it can be done to."""

    title: str
    candidates: Callable[[GraphNetwork], list[Any]]
    plant: Callable[[Any, np.random.Generator], None]

    def parts(self, network: GraphNetwork) -> list[Any]:
        """Those that it is done to, one at a time: evenly spread over the network."""
        found = self.candidates(network)
        return [found[place] for place in sorted({number * len(found) // _PARTS for number in range(_PARTS)})]


def _layers(network: GraphNetwork) -> list[Any]:
    """Those that compute something: networks are made with layers of zeros."""
    return [part for part in network.modules() if isinstance(part, QuantizedLayer) and part.codes.any()]


def _biased(network: GraphNetwork) -> list[Any]:
    return [part for part in _layers(network) if part.bias.any()]


def _quantizers(network: GraphNetwork) -> list[Any]:
    return [part for part in network.modules() if isinstance(part, ActivationQuantizer)]


def _weight_scale(part: Any, _: np.random.Generator) -> None:
    part.weight_scale.mul_(1.5)


def _small_weight_scale(part: Any, _: np.random.Generator) -> None:
    part.weight_scale.div_(1.5)


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
    Fault("one weight scale / 1.5", _layers, _small_weight_scale),
    Fault("one activation scale x 1.5", _quantizers, _scale),
    Fault("one channel zeroed", _layers, _zero_channel),
    Fault("one bias dropped", _biased, _no_bias),
    Fault("two channels swapped", _layers, _swap),
)


def build(case: Case, home: Path) -> tuple[LoadedModel, Workspace, BuildConfig, list[Path]]:
    """Quantize, on dead leaves of the case's seed."""
    from genq_export.quantization.run import run as run_quantize

    weights, activations = case.grid
    preset = "default" if case.how == "learned" else "quick"
    values = BuildConfig.for_model(case.model, preset=preset, target=case.target).model_dump(mode="json")
    values["quantize"] |= {"weight_bits": weights, "activation_bits": activations}
    if case.how == "learned":
        values["quantize"]["reconstruction"]["iterations"] = case.steps
    elif case.how == "ranges":
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
    settings = timm.get_pretrained_cfg(case.model)
    size = SIDES.get(case.model, 64) or settings.input_size[1]
    keywords = {"img_size": size} if settings.fixed_input_size and case.model in SIDES else {}
    module = timm.create_model(case.model, pretrained=False, num_classes=10, **keywords).eval()
    for part in module.modules():  # statistics as of a network that was trained, not 0 and 1
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return LoadedModel(case.model, module, (3, size, size), (0.5,) * 3, (0.25,) * 3, 1.0, "bilinear", None, 10)


class Judge:
    """Judges the reference of one build by what verify measures of float."""

    def __init__(self, model: LoadedModel, workspace: Workspace, config: BuildConfig, calibration: list[Path]) -> None:
        images = load_images(calibration, model)
        self._float = float_backend(model.module)
        self._sets = {HELD_OUT: held_out_images(model), "calibration": [images[::3].numpy()]}
        self._settings = config.quantize
        # In float nothing that is planted changes anything.
        self._scales = searched_scales(load_reference(workspace.folder), [images], None, pow2=False)

    def __call__(self, reference: GraphNetwork) -> tuple[list[str], float]:
        """Names of the gates that fail, and the least signal to noise of the outputs, dB."""
        backend = TorchBackend("reference", "reference", reference)
        backends = {"reference": backend, "reference in float": InFloat(backend)}
        found, _ = output_distances(self._float, backends, self._sets, CLASSIFICATION)
        run = Verification(
            machine=Machine(name="", cpu="", cores=1, memory_gib=1, system=""), date="", artefacts={}, versions={},
            deployed="reference", evaluation=None, backends=(),
            from_float=found, weights=weight_quality(reference, self._sets[HELD_OUT]), ranges=self.ranges(reference),
        )  # fmt: skip
        judged = gates.against_float(run, GatesConfig(), self._settings)
        failed = [gate.name for gate in judged if isinstance(gate, Gate) and not gate.passed]
        furthest = gates.deployed_from_float(run)
        return failed, -300.0 if furthest is None or furthest.sqnr_db is None else furthest.sqnr_db

    def ranges(self, reference: GraphNetwork) -> tuple[RangeQuality, ...]:
        """Of its activation scales."""
        return range_quality(reference, self._scales)

    def nearest(self, reference: GraphNetwork) -> str:
        """How near the weights and scales of a reference come to what fails."""
        weights = [
            item.relation for item in weight_quality(reference, self._sets[HELD_OUT]) if item.relation is not None
        ]
        ratios = [item.ratio for item in self.ranges(reference)]
        nearer = [item.chance for item in weights if item.chance is not None and (item.exchange or 0) > NEARER]
        figures = {
            name: [value for item in weights if (value := getattr(item, name)) is not None]
            for name in ("likeness", "exchange", "scale", "slope", "bias")
        }
        return (
            f"likeness {min(figures['likeness']):.2f}, exchange {max(figures['exchange'], default=-1.0):.2f}"
            f"{f' (by chance {min(nearer):.0e})' if nearer else ''},"
            f" scales to {max(figures['scale']):.2f},"
            f" slopes {min(figures['slope'], default=1.0):.2f} to {max(figures['slope'], default=1.0):.2f},"
            f" bias {min(figures['bias'], default=1.0):.2f}, ranges {min(ratios):.2f} to {max(ratios):.2f}"
        )


@dataclass(frozen=True)
class Row:
    """A fault in one build. caught: by the names of gates, "" none; drops: of the outputs' signal to noise, dB."""

    fault: str
    planted: int
    caught: int
    by: dict[str, int]
    unseen_drop: float


def faults_of(reference: GraphNetwork, judge: Judge, honest: float) -> Iterator[Row]:
    """Plant every fault in one part after the other."""
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


def _moved(judge: Judge, reference: GraphNetwork) -> str:
    """How many scales of activations would fail if they were 1.5 times what they are."""
    ratios = [item.ratio for item in judge.ranges(reference)]
    return f"{sum(1.5 * ratio > RANGE_LEARNED[1] for ratio in ratios)} of {len(ratios)}"


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
        verdict = "passes" if not failed else f"FAILS {', '.join(failed)}"
        print(f"| {case.title} | honest | {verdict} | {honest:.1f} dB; {judge.nearest(reference)} |", flush=True)
        if case in LEARNED:
            print(f"| | one activation scale x 1.5 | {_moved(judge, reference)} | ranges |", flush=True)
        if case in LEARNED or case in FAMILIES:
            return
        for row in faults_of(reference, judge, honest):
            by = ", ".join(f"{name} {count}" for name, count in sorted(row.by.items()))
            unseen = f"; unseen ones cost at most {row.unseen_drop:.1f} dB" if row.caught < row.planted else ""
            print(f"| | {row.fault} | {row.caught} of {row.planted} | {by}{unseen} |", flush=True)
        failed_by = lost_divisor(reference, judge)
        if failed_by is not None:
            print(f"| | pooling divisor lost | {int(bool(failed_by))} of 1 | {', '.join(failed_by)} |", flush=True)
        if case.how == "ranges":
            planted, seen = in_integer_model(workspace)
            print(f"| | all of these in the integer model | {seen} of {planted} | constants |", flush=True)


def main() -> None:
    """Print the table of the builds that the thresholds were set on, and of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=(*SETS, "all"), default="all")
    chosen = parser.parse_args().set
    torch.set_num_threads(1)
    for name, cases in SETS.items():
        if chosen in (name, "all"):
            print(f"\n{name}:\n\n| build | fault | caught | by |\n|---|---|---|---|")
            for case in cases:
                run_case(case)


if __name__ == "__main__":
    main()
