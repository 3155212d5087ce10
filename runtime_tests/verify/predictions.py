"""What every runtime answers on the evaluation set, one batch at a time, nothing kept but the answers.

The images go once through the network's own preprocessing; float and every runtime see the very same batch.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError, UserError
from genq_export.core.progress import Progress
from genq_export.data.evaluation import EvaluationSet
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes import runtimes
from genq_export.runtimes.base import Backend, Batch
from runtime_tests.verify.machine import threads_each, torch_threads
from runtime_tests.verify.metrics import in_top, kl_divergence
from runtime_tests.verify.results import BackendRun
from runtime_tests.verify.runtime_pool import RuntimePool, deployed


class Predictions:
    """What one backend said on every image so far: top-1 class, top-5 hit, KL from float, and whether it was finite."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.seconds = 0.0
        self.failure: str | None = None
        self._top1: list[NDArray[np.int64]] = []
        self._top5: list[NDArray[np.bool_]] = []
        self._kl: list[NDArray[np.float64]] = []
        self.non_finite = 0

    def logits(self, batch: Batch) -> Batch | None:
        """Logits of the batch, or None once this backend has failed."""
        if self.failure is not None:
            return None
        start = time.perf_counter()
        try:
            (logits,) = self.backend.outputs(batch).values()
            if logits.ndim != 2 or len(logits) != len(batch):
                raise BackendError(f"{self.backend.name} gave logits of shape {logits.shape} for {len(batch)} images")
        except BackendError as error:
            self.failure = str(error)
            return None
        finally:
            self.seconds += time.perf_counter() - start
        return logits

    def add(self, logits: Batch, reference: Batch, labels: NDArray[np.int64] | None) -> None:
        """Take note of one batch. An image with NaN or infinite logits counts as wrong and as class -1."""
        if logits.shape != reference.shape:
            found, expected = logits.shape[1], reference.shape[1]
            self.failure = f"{self.backend.name} knows {found} classes, the float network {expected}"
            return
        finite = np.asarray(np.isfinite(logits).all(axis=1))
        self.non_finite += int((~finite).sum())
        self._top1.append(np.where(finite, np.where(finite[:, None], logits, 0).argmax(axis=1), -1))
        both = finite & np.isfinite(reference).all(axis=1)
        self._kl.append(kl_divergence(reference[both], logits[both]))
        if labels is not None:
            self._top5.append(in_top(np.where(finite[:, None], logits, -np.inf), labels, 5) & finite)

    @property
    def top1(self) -> NDArray[np.int64]:
        """int64 [N], -1 where the logits were not finite."""
        return np.concatenate(self._top1) if self._top1 else np.zeros(0, np.int64)

    @property
    def top5(self) -> NDArray[np.bool_] | None:
        """bool [N], None without labels."""
        return np.concatenate(self._top5) if self._top5 else None

    @property
    def mean_kl(self) -> float:
        """Mean KL(float ‖ this) in nats."""
        values = np.concatenate(self._kl) if self._kl else np.zeros(0)
        return float(values.mean()) if len(values) else 0.0


def evaluate(
    batches: Iterable[Batch], labels: NDArray[np.int64] | None, float_backend: Backend, backends: Sequence[Backend]
) -> dict[str, Predictions]:
    """Run float and every backend over the batches, each image once.

    All backends work on one batch at the same time, each with its share of the cores (`threads_each`): torch with more
    threads than free cores waits for itself. A backend that fails keeps its failure and is not called again.

    Args:
        batches: float32 [B, C, H, W] each.
        labels: int64 [N] over all batches, or None.
        float_backend: The float network.
        backends: What is held against it.

    Returns:
        Predictions by backend name, float first.

    Raises:
        BackendError: Float itself fails.
    """
    answers = [Predictions(float_backend), *(Predictions(backend) for backend in backends)]
    start = 0
    with torch_threads(threads_each(len(answers))), ThreadPoolExecutor(len(answers)) as pool:
        for batch in batches:
            own = None if labels is None else labels[start : start + len(batch)]
            start += len(batch)
            found = list(pool.map(lambda answer, batch=batch: answer.logits(batch), answers))
            reference = found[0]
            if reference is None:
                raise BackendError(f"the float network failed: {answers[0].failure}")
            for answer, logits in zip(answers, found, strict=True):
                if logits is not None:
                    answer.add(logits, reference, own)
    return {answer.backend.name: answer for answer in answers}


def predict(
    pool: RuntimePool, images: EvaluationSet, model: LoadedModel, config: BuildConfig, progress: Progress
) -> dict[str, Predictions]:
    """Predictions of float and of the runtimes in the pool on the evaluation set, by name.

    Raises:
        UserError: The float network fails on these images.
    """
    batch_size = config.verify.batch_size
    asked = {*(config.verify.backends or ()), deployed(config, pool)}
    # The others answer for codes on a sample: some sessions are for diagnosis, and the oracle's float64 arithmetic is
    # slow and gives the reference's answers anyway.
    deploying = {item.name for item in runtimes() if item.purpose == "deployment"}
    evaluated = [backend for name, backend in pool.opened.items() if name in {"reference", *deploying, *asked}]
    progress.say(f"  {len(images)} images through float, {', '.join(backend.name for backend in evaluated)}")
    batches = (batch.numpy() for batch in images.batches(model, batch_size))
    tracked = progress.track(batches, -(-len(images) // batch_size), "evaluate")
    try:
        return evaluate(tracked, images.labels, pool.float_backend, evaluated)
    except BackendError as error:
        raise UserError(str(error)) from None


def backend_runs(pool: RuntimePool, answers: dict[str, Predictions]) -> tuple[BackendRun, ...]:
    """What each runtime is and how it got through the evaluation set: first the open ones, then the lost."""
    opened = (_backend_run(backend, answers.get(name)) for name, backend in pool.opened.items())
    return (*opened, *pool.lost.values())


def _backend_run(backend: Backend, answer: Predictions | None) -> BackendRun:
    failure = answer.failure if answer is not None else None
    non_finite = answer.non_finite if answer is not None else 0
    return BackendRun(
        name=backend.name,
        title=backend.title,
        device=backend.device,
        status="failed" if failure else "ok",
        detail=failure or (f"{non_finite} images gave logits that are not finite" if non_finite else ""),
        seconds=round(answer.seconds, 2) if answer is not None else None,
        non_finite=non_finite,
    )
