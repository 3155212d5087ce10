"""One verification run: open the runtimes, stream the evaluation set through them, compare codes, take times."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError, BackendMissing, UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace, package_versions, sha256
from genq_export.data.evaluation import EvaluationSet, evaluation_set
from genq_export.models.loaded import LoadedModel
from genq_export.network.onnx_graph import QuantizerNode, quantizers, read_model
from genq_export.runtimes import runtimes
from genq_export.runtimes.base import Backend, Batch, Codes
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.torch_modules import TorchBackend, float_backend, oracle_backend, reference_backend
from genq_export.targets import target
from runtime_tests.verify import accuracy, layer_quality
from runtime_tests.verify.accuracy import FLOAT, Predictions
from runtime_tests.verify.code_fidelity import CodeComparison
from runtime_tests.verify.constants import mismatches
from runtime_tests.verify.diagnosis.explain import Case, explain
from runtime_tests.verify.diagnosis.probe_effect import explain_probe_effect
from runtime_tests.verify.machine import this_machine
from runtime_tests.verify.results import (
    BackendFidelity,
    BackendRun,
    Evaluation,
    LayerQuality,
    Verification,
    WeightQuality,
)
from runtime_tests.verify.speed import measure_speed

ARTEFACTS = ("model.onnx", "model.safetensors", "reference.safetensors", "model.engine")
_SAMPLE_ELEMENTS = 1_000_000
_QUALITY_SHARE = 4
# Below this number one image weighs a point or more.
_MANY = 100
# Logits that move by less when codes are watched move by float rounding.
_MOVED = 1e-3
# Float, reference and a runtime share the cores.
_AT_ONCE = 3
# Reference and oracle: the two that compute codes in torch.
_TORCH_AT_ONCE = 2


@dataclass
class RuntimePool:
    """The runtimes of one run, open; and what became of those that could not be opened."""

    float_backend: Backend
    opened: dict[str, Backend]
    lost: dict[str, BackendRun]


class Timer:
    """Wall time of one part of the work after another, seconds."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """The part that ends now."""
        now = time.perf_counter()
        self.taken[name], self._since = round(now - self._since, 2), now


def verify(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress, calibration: Sequence[Path] = ()
) -> Verification:
    """Everything that this machine can measure of the build folder. Raises UserError for bad evaluation data.

    calibration: images that codes are compared on where there is no evaluation set; without them, random numbers.
    """
    settings = config.verify
    images = evaluation_set(model, settings.evaluation)
    notes = _few(len(images)) if images is not None else _without_evaluation(calibration)
    with _bench(workspace, config, model) as bench:
        for run in bench.lost.values():
            if run.status == "failed":
                progress.say(f"  {run.detail}")
        seconds = Timer()
        answers = _answers(bench, images, model, config, progress) if images is not None else {}
        seconds.lap("evaluation")
        compared = EvaluationSet("calibration", calibration, None) if images is None and calibration else images
        sample = _sample(compared, model, settings.fidelity_images, settings.batch_size)
        with accuracy.torch_threads(accuracy.threads_each(_TORCH_AT_ONCE)):
            fidelity = _fidelity(bench, sample, workspace, settings.time_limit, progress)
            constants = _constants(bench, workspace)
            seconds.lap("fidelity")
            quality = _quality(bench, sample, notes)
            seconds.lap("quality")
        speed = measure_speed(workspace, config, model, bench.opened, progress)
        notes += speed.notes
        seconds.lap("latency")
        runs = tuple(_backend_run(bench, name, answers) for name in (*bench.opened, *bench.lost))
    labels = None if images is None or images.labels is None else images.labels
    deployed = target(config.target).deployed(bench.opened)
    finished = {name: answer for name, answer in answers.items() if answer.failure is None}
    names = [str(name) for name in model.class_names or range(model.classes)]
    both = labels is not None and FLOAT in finished and deployed in finished
    return Verification(
        machine=this_machine(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        artefacts={name: sha256(workspace.path(name)) for name in ARTEFACTS if workspace.path(name).is_file()},
        versions={**package_versions(), **further_versions()},
        deployed=deployed,
        evaluation=None if images is None else _evaluation(images, names),
        backends=runs,
        accuracy={} if labels is None else {n: accuracy.score(a, labels, model.classes) for n, a in finished.items()},
        agreement=_agreements(finished),
        divergence={name: round(answer.mean_kl, 6) for name, answer in finished.items() if name != FLOAT},
        cost=accuracy.paired_test(finished[FLOAT], finished[deployed], labels) if both and labels is not None else None,
        confusion=accuracy.confusion_changes(finished[FLOAT], finished[deployed], labels, names)
        if both and labels is not None
        else (),
        fidelity=fidelity,
        layers=quality[0],
        weights=quality[1],
        latency=speed.latency,
        size=speed.size,
        constants=constants,
        notes=tuple(notes),
        seconds=seconds.taken,
    )


@contextmanager
def _bench(workspace: Workspace, config: BuildConfig, model: LoadedModel) -> Iterator[RuntimePool]:
    """Open what is there and close it again."""
    asked, made_for = config.verify.backends, target(config.target)
    wanted = None if asked is None else {*asked, *made_for.needed_for_verdict}
    bench = RuntimePool(float_backend(model.module), {}, {})
    file = workspace.path("model.onnx")
    readers = [
        item.name
        for item in runtimes()
        if item.reads(made_for.rule) and (item.purpose != "experiment" or item.name in (asked or ()))
    ]
    openers: dict[str, Any] = {
        "reference": lambda: reference_backend(workspace.folder),
        "oracle": lambda: oracle_backend(workspace.folder, config.device),
    }
    for name in readers:
        openers[name] = lambda name=name: IsolatedBackend(
            name, file, config.verify.time_limit, accuracy.threads_each(_AT_ONCE)
        )
    try:
        for name, opener in openers.items():
            if wanted is not None and name not in wanted:
                continue
            try:
                if name in readers and not file.is_file():
                    raise BackendMissing("the build has no model.onnx")
                bench.opened[name] = opener()
            except BackendMissing as error:
                bench.lost[name] = BackendRun(name=name, title=name, device="", status="missing", detail=str(error))
            except (BackendError, UserError, ImportError, OSError) as error:
                bench.lost[name] = BackendRun(name=name, title=name, device="", status="failed", detail=str(error))
        yield bench
    finally:
        for backend in bench.opened.values():
            backend.close()


def _answers(
    bench: RuntimePool, images: EvaluationSet, model: LoadedModel, config: BuildConfig, progress: Progress
) -> dict[str, Predictions]:
    wanted, batch_size = config.verify.backends or (), config.verify.batch_size
    asked = {*wanted, target(config.target).deployed(bench.opened)}
    # The others answer for codes on a sample: some sessions are for diagnosis, and the oracle's float64 arithmetic is
    # slow and gives the reference's answers anyway.
    deploying = {item.name for item in runtimes() if item.purpose == "deployment"}
    evaluated = [backend for name, backend in bench.opened.items() if name in {"reference", *deploying, *asked}]
    batches = (batch.numpy() for batch in images.batches(model, batch_size))
    total = -(-len(images) // batch_size)
    progress.say(f"  {len(images)} images through float, {', '.join(backend.name for backend in evaluated)}")
    tracked = progress.track(batches, total, "evaluate")
    try:
        return accuracy.evaluate(tracked, images.labels, bench.float_backend, evaluated)
    except BackendError as error:
        raise UserError(str(error)) from None


def _sample(images: EvaluationSet | None, model: LoadedModel, count: int, batch_size: int) -> list[Batch]:
    """Images for code comparison: evenly spread over the set, since folders are sorted by class."""
    if images is None:
        rng = np.random.default_rng(0)
        return [rng.standard_normal((min(count, 32), *model.input_size), dtype=np.float32)]
    chosen = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(np.int64))
    content = images.images
    picked = content[chosen] if isinstance(content, np.ndarray) else [content[index] for index in chosen]
    # Every code of a batch is held at once: large inputs go in small batches.
    batch_size = int(np.clip(_SAMPLE_ELEMENTS // np.prod(model.input_size), 1, batch_size))
    return [batch.numpy() for batch in EvaluationSet(images.name, picked, None).batches(model, batch_size)]


def _fidelity(
    bench: RuntimePool, sample: list[Batch], workspace: Workspace, limit: float, progress: Progress
) -> tuple[BackendFidelity, ...]:
    """Codes of every backend against the oracle, or against the reference where there is no oracle."""
    against = next((name for name in ("oracle", "reference") if name in bench.opened), None)
    compared = [name for name in bench.opened if name != against]
    if against is None or not compared:
        return ()
    model, nodes = None, tuple[QuantizerNode, ...]()
    with contextlib.suppress(BackendError):
        model = read_model(workspace.path("model.onnx"))
        nodes = quantizers(model)
    comparisons = {name: CodeComparison(name, against, nodes) for name in compared}
    first: dict[str, tuple[Batch, Codes, Codes]] = {}
    moved: dict[str, float] = {}
    places: dict[str, int] = {}
    progress.say(f"  {sum(map(len, sample))} images: codes of {', '.join(compared)} against the {against}'s")
    with ThreadPoolExecutor(len(bench.opened)) as pool:
        for batch in progress.track(sample, len(sample), "compare codes"):
            at_work = {name: pool.submit(bench.opened[name].codes, batch) for name in (against, *comparisons)}
            expected = at_work[against].result()
            for name in list(comparisons):
                try:
                    found = at_work[name].result()
                    place = comparisons[name].add(expected, found)
                    if name not in moved:
                        moved[name] = float(np.abs(found[0] - bench.opened[name].logits(batch)).max())
                    if name not in first or (place is not None and place < places[name]):
                        first[name] = (batch, expected[1], found[1])
                        places[name] = len(nodes) if place is None else place
                except BackendError as error:
                    _lose(bench, name, error)
                    del comparisons[name]
    results = {
        name: comparison.result().model_copy(update={"probe_logit_shift": moved[name]})
        for name, comparison in comparisons.items()
    }
    oracle = bench.opened[against]
    if model is None or not isinstance(oracle, TorchBackend) or against != "oracle":
        return tuple(results.values())
    unfused = results.get("onnxruntime-unfused")
    explained = {
        name: result
        if name == "reference"
        else explain(Case(result, oracle, first[name], model, nodes, unfused, limit))
        for name, result in results.items()
    }
    openvino = explained.get("openvino")
    if openvino is not None and openvino.probe_logit_shift > _MOVED:
        reason, evidence = explain_probe_effect(model, sample[0], oracle.logits(sample[0]), limit)
        changes = {"probe_effect": reason, "evidence": openvino.evidence + evidence}
        explained["openvino"] = openvino.model_copy(update=changes)
    return tuple(explained.values())


def _quality(
    bench: RuntimePool, sample: list[Batch], notes: list[str]
) -> tuple[tuple[LayerQuality, ...], tuple[WeightQuality, ...]]:
    reference = bench.opened.get("reference")
    if not isinstance(reference, TorchBackend):
        notes.append("signal to noise by layer was not measured: there is no reference")
        return (), ()
    # A ratio of sums over whole tensors needs far fewer images than a search for single differing codes.
    fewer = [batch[::_QUALITY_SHARE] for batch in sample]
    return layer_quality.activation_quality(reference.module, fewer), layer_quality.weight_quality(reference.module)


def _constants(bench: RuntimePool, workspace: Workspace) -> tuple[str, ...] | None:
    """How the file's scales, codes and biases differ from the integer model's; None where either is missing."""
    oracle = bench.opened.get("oracle")
    if not isinstance(oracle, TorchBackend):
        return None
    try:
        return tuple(item.sentence for item in mismatches(read_model(workspace.path("model.onnx")), oracle.module))
    except BackendError:
        return None


def _backend_run(bench: RuntimePool, name: str, answers: dict[str, Predictions]) -> BackendRun:
    if name in bench.lost:
        return bench.lost[name]
    backend, answer = bench.opened[name], answers.get(name)
    failure = answer.failure if answer is not None else None
    non_finite = answer.non_finite if answer is not None else 0
    return BackendRun(
        name=name,
        title=backend.title,
        device=backend.device,
        status="failed" if failure else "ok",
        detail=failure or (f"{non_finite} images gave logits that are not finite" if non_finite else ""),
        seconds=round(answer.seconds, 2) if answer is not None else None,
        non_finite=non_finite,
    )


def _lose(bench: RuntimePool, name: str, error: BackendError) -> None:
    backend = bench.opened.pop(name)
    backend.close()
    bench.lost[name] = BackendRun(
        name=name, title=backend.title, device=backend.device, status="failed", detail=str(error)
    )


def _few(images: int) -> list[str]:
    """What must be said of shares that rest on few images."""
    if images >= _MANY:
        return []
    counted = f"{images} image{'s' * (images != 1)}"
    return [f"accuracy and agreement rest on {counted}: one more or less is {100 / images:.1f} points"]


def _without_evaluation(calibration: Sequence[Path]) -> list[str]:
    compared = "calibration images" if calibration else "random numbers, as the calibration images are not here"
    return [f"no evaluation images: accuracy and agreement are unknown; codes were compared on {compared}"]


def _agreements(finished: dict[str, Predictions]) -> dict[str, float]:
    """Against float for everyone; against the reference for what should equal it."""
    found = {
        f"{name}_vs_float": accuracy.agreement(finished[name], finished[FLOAT])
        for name in finished
        if name != FLOAT and FLOAT in finished
    }
    if "reference" in finished:
        others = itertools.filterfalse((FLOAT, "reference").__contains__, finished)
        found |= {f"{name}_vs_reference": accuracy.agreement(finished[name], finished["reference"]) for name in others}
    return found


def _evaluation(images: EvaluationSet, names: list[str]) -> Evaluation:
    labelled = images.labels is not None
    counts = np.bincount(images.labels, minlength=len(names)) if images.labels is not None else None
    return Evaluation(
        name=Path(images.name).name,
        n=len(images),
        labelled=labelled,
        class_names=tuple(names) if labelled else None,
        class_counts=tuple(int(count) for count in counts) if counts is not None else None,
    )


def further_versions() -> dict[str, str]:
    """Versions of the runtimes, which `package_versions` does not all list, as far as they are installed."""
    found = {}
    for name in dict.fromkeys((*(name for item in runtimes() for name in item.distributions), "numpy")):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
