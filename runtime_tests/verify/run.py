"""One verification run: open the runtimes, stream the evaluation set through them, compare codes, take times."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import BackendError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace, package_versions, sha256
from genq_export.data.evaluation import EvaluationSet, load_images
from genq_export.data.raw import Reading
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set
from genq_export.network import range_search
from genq_export.runtimes.base import Batch
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.torch_modules import TorchBackend
from genq_export.tasks.task import Task, task_of
from runtime_tests.verify import accuracy
from runtime_tests.verify.answer_sheet import IMAGES, answer_sheet
from runtime_tests.verify.code_fidelity import compare_codes, constant_mismatches
from runtime_tests.verify.float_distance import HELD_OUT, InFloat, held_out_images, output_distances
from runtime_tests.verify.label_figures import LabelCount
from runtime_tests.verify.layer_quality import activation_quality, weight_quality
from runtime_tests.verify.machine import further_versions, this_machine, threads_each, torch_threads
from runtime_tests.verify.predictions import Predictions, backend_runs, predict
from runtime_tests.verify.range_quality import range_quality, searched_scales
from runtime_tests.verify.results import (
    FLOAT,
    REFERENCE,
    UNQUANTIZED,
    AnswerFigure,
    Evaluation,
    LayerQuality,
    OutputDistance,
    RangeQuality,
    Verification,
    WeightQuality,
)
from runtime_tests.verify.runtime_pool import OpenRuntime, RuntimePool, deployed, open_runtimes
from runtime_tests.verify.sample import quality_sample, sample_images
from runtime_tests.verify.speed import MeasureSpeed
from runtime_tests.verify.speed import measure_speed as measure_speed_here
from runtime_tests.verify.verify_file import ANSWERS_FILE

ARTEFACTS = (
    "model.onnx", "model.safetensors", "model.json", "reference.safetensors", "reference.json", "model.engine",
    "engine.json",
)  # fmt: skip
# Below this number one image weighs a point or more.
_MANY = 100
# Reference and oracle: the two that compute codes in torch.
_TORCH_AT_ONCE = 2


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
    workspace: Workspace,
    config: BuildConfig,
    model: LoadedModel,
    progress: Progress,
    calibration: Sequence[Path] = (),
    measure_speed: MeasureSpeed = measure_speed_here,
    open_runtime: OpenRuntime = IsolatedBackend,
) -> Verification:
    """Measure everything that this machine can measure of a build folder.

    Args:
        workspace: The build folder.
        config: What to measure with, and on which images.
        model: The float network.
        progress: Told what happens.
        calibration: Images that codes are compared on where there is no evaluation set; without them, random numbers.
        measure_speed: Measures latency and size.
        open_runtime: Opens a runtime that reads `model.onnx`.

    Raises:
        UserError: The evaluation images cannot be used.
    """
    settings = config.verify
    images = evaluation_set(model, settings.evaluation, Reading.of(settings, "eval"))
    task = task_of(model.task)
    notes = _without_evaluation(calibration, task) if images is None else _of_images(images, task, progress)
    notes += task.problems()
    with open_runtimes(workspace, config, model, open_runtime) as pool:
        for lost in pool.lost.values():
            if lost.status != "missing":
                progress.say(f"  {lost.detail}")
        seconds = Timer()
        answers = predict(pool, images, model, config, progress) if images is not None and task.has_logits else {}
        seconds.lap("evaluation")
        compared = EvaluationSet("calibration", calibration, None) if images is None and calibration else images
        sample = sample_images(compared, model, settings.fidelity_images, settings.batch_size)
        with torch_threads(threads_each(_TORCH_AT_ONCE)):
            fidelity = compare_codes(pool, sample, workspace, settings.time_limit, progress)
            constants = constant_mismatches(pool, workspace, config, model, notes)
            seconds.lap("fidelity")
            named = "random" if compared is None else "calibration" if images is None else "evaluation"
            judged: Iterable[Batch] = sample
            if images is not None and not task.has_logits:
                judged = (batch.numpy() for batch in images.batches(model, settings.batch_size))
            truths = None if images is None or images.truths is None else images.truths
            labels = None if truths is None else LabelCount(task, named, truths)
            from_float, figures = _from_float(pool, config, model, {named: judged}, labels, notes)
            layers, weights = _quality(pool, quality_sample(sample), notes)
            ranges = _ranges(pool, calibration, model, config.quantize)
            _show_answers(workspace, pool, config, model, images)
            seconds.lap("quality")
        speed = measure_speed(workspace, config, model, pool.opened, progress)
        notes += speed.notes
        seconds.lap("latency")
        runs, name = backend_runs(pool, answers), deployed(config, pool)
    label_figures = () if labels is None else labels.figures()
    finished = {name: answer for name, answer in answers.items() if answer.failure is None}
    class_names = [str(name) for name in model.class_names or range(model.classes)]
    classes = images.labels if images is not None and task.has_logits else None
    pair = _pair(finished, name, images)
    return Verification(
        machine=this_machine(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        artefacts={name: sha256(workspace.path(name)) for name in ARTEFACTS if workspace.path(name).is_file()},
        versions={**package_versions(), **further_versions()},
        deployed=name,
        evaluation=_evaluation(images, class_names) if images is not None else None,
        backends=runs,
        accuracy=accuracy.scores(finished, classes, model.classes) if classes is not None else {},
        agreement=accuracy.agreements(finished),
        divergence={name: round(answer.mean_kl, 6) for name, answer in finished.items() if name != FLOAT},
        cost=accuracy.paired_test(*pair) if pair is not None else None,
        confusion=accuracy.confusion_changes(*pair, class_names) if pair is not None else (),
        fidelity=fidelity,
        from_float=from_float,
        task=model.task,
        answers=figures,
        against_labels=label_figures,
        layers=layers,
        weights=weights,
        ranges=ranges,
        latency=speed.latency,
        size=speed.size,
        constants=constants,
        notes=tuple(notes),
        seconds=seconds.taken,
    )


def _pair(
    finished: dict[str, Predictions], name: str, images: EvaluationSet | None
) -> tuple[Predictions, Predictions, NDArray[np.int64]] | None:
    """Answers of float and of the deployed file, and the labels; None where one of them is missing."""
    if images is None or images.labels is None or FLOAT not in finished or name not in finished:
        return None
    return finished[FLOAT], finished[name], images.labels


def _from_float(
    pool: RuntimePool,
    config: BuildConfig,
    model: LoadedModel,
    images: Mapping[str, Iterable[Batch]],
    labels: LabelCount | None,
    notes: list[str],
) -> tuple[tuple[OutputDistance, ...], tuple[AnswerFigure, ...]]:
    """The reference and the deployed file against float, on images and on some that calibrated nothing."""
    name, held_out = deployed(config, pool), held_out_images(model, generator=config.calibrate.generator)
    if not held_out:
        notes.append(f"no held-out images were drawn: the network takes {model.input_size[0]} channels")
    sets: dict[str, Iterable[Batch]] = {**({HELD_OUT: held_out} if held_out else {}), **images}
    backends = {backend: pool.opened[backend] for backend in dict.fromkeys((REFERENCE, name)) if backend in pool.opened}
    reference = pool.opened.get(REFERENCE)
    if isinstance(reference, TorchBackend):
        backends[UNQUANTIZED] = InFloat(reference)
    return output_distances(pool.float_backend, backends, sets, task_of(model.task), labels)


def _show_answers(
    workspace: Workspace, pool: RuntimePool, config: BuildConfig, model: LoadedModel, images: EvaluationSet | None
) -> None:
    """Write the picture of answers, on images to judge by or on some that calibrated nothing; remove an older one."""
    sheet = None if task_of(model.task).has_logits else _answer_sheet(pool, config, model, images)
    if sheet is None:
        workspace.path(ANSWERS_FILE).unlink(missing_ok=True)
    else:
        workspace.write_bytes(ANSWERS_FILE, sheet)


def _answer_sheet(
    pool: RuntimePool, config: BuildConfig, model: LoadedModel, images: EvaluationSet | None
) -> bytes | None:
    """The picture; None where a network is not there or failed, which its other measurements say."""
    found = pool.opened.get(deployed(config, pool))
    batches = held_out_images(model, IMAGES, config.calibrate.generator) if images is None else _few_of(images, model)
    if found is None or not batches:
        return None
    try:
        answers = pool.float_backend.outputs(batches[0]), found.outputs(batches[0])
    except BackendError:
        return None
    return answer_sheet(task_of(model.task), model, batches[0], *answers)


def _few_of(images: EvaluationSet, model: LoadedModel) -> list[Batch]:
    return [next(iter(images.batches(model, IMAGES))).numpy()]


def _quality(
    pool: RuntimePool, sample: list[Batch], notes: list[str]
) -> tuple[tuple[LayerQuality, ...], tuple[WeightQuality, ...]]:
    reference = pool.opened.get("reference")
    if not isinstance(reference, TorchBackend):
        notes.append("signal to noise by layer was not measured: there is no reference")
        return (), ()
    return activation_quality(reference.module, sample), weight_quality(reference.module, sample)


def _ranges(
    pool: RuntimePool, calibration: Sequence[Path], model: LoadedModel, settings: QuantizeConfig
) -> tuple[RangeQuality, ...]:
    """Scales against those searched anew, on the images that they were searched on; none where these are not here."""
    reference = pool.opened.get(REFERENCE)
    if not isinstance(reference, TorchBackend) or not calibration:
        return ()
    images = calibration[: range_search.IMAGES]
    batches = (
        load_images(images[start : start + range_search.BATCH], model)
        for start in range(0, len(images), range_search.BATCH)
    )
    percentile = settings.percentile if settings.range == "percentile" else None
    searched = searched_scales(reference.module, batches, percentile, settings.scales == "pow2")
    return range_quality(reference.module, searched)


def _of_images(images: EvaluationSet, task: Task, progress: Progress) -> list[str]:
    return [*_read(images, progress), *(_few(len(images)) if task.has_logits else [])]


def _few(images: int) -> list[str]:
    """What must be said of shares that rest on few images."""
    if images >= _MANY:
        return []
    counted = f"{images} image{'s' * (images != 1)}"
    return [f"accuracy and agreement rest on {counted}: one more or less is {100 / images:.1f} points"]


def _read(images: EvaluationSet, progress: Progress) -> list[str]:
    """What the reader made of the user's images; nothing where they come with the network."""
    if images.account is None:
        return []
    progress.say(f"verify: {images.name}: {images.account}")
    return [f"evaluation images: {images.account}"]


def _without_evaluation(calibration: Sequence[Path], task: Task) -> list[str]:
    compared = "calibration images" if calibration else "random numbers, as the calibration images are not here"
    if not task.has_logits:
        return [f"no evaluation images: answers and codes were compared on {compared}"]
    return [f"no evaluation images: accuracy and agreement are unknown; codes were compared on {compared}"]


def _evaluation(images: EvaluationSet, names: list[str]) -> Evaluation:
    labelled = images.labels is not None or images.truths is not None
    counts = np.bincount(images.labels, minlength=len(names)) if images.labels is not None else None
    return Evaluation(
        name=Path(images.name).name,
        n=len(images),
        labelled=labelled,
        class_names=tuple(names) if images.labels is not None else None,
        class_counts=tuple(int(count) for count in counts) if counts is not None else None,
    )
