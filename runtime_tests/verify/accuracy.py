"""What did it cost: every backend over the evaluation set, one batch at a time, nothing kept but the answers.

The images go once through the network's own preprocessing; float and every backend see the very same batch.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendError
from genq_export.runtimes.base import Backend, Batch
from runtime_tests.verify.machine import usable_cores
from runtime_tests.verify.metrics import in_top, kl_divergence, mcnemar_p, wilson_interval
from runtime_tests.verify.results import ConfusionChange, PairedTest, Score

FLOAT = "float"


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
            logits = self.backend.logits(batch)
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
    """Run float and every backend over the batches, each image once; answers by backend name, float first.

    All backends work on one batch at the same time, each with its share of the cores (`threads_each`): torch with more
    threads than free cores waits for itself. A backend that fails keeps its failure and is not called again.
    Raises BackendError if float itself fails.
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


def threads_each(backends: int) -> int:
    """Threads for each of several backends that work at the same time."""
    return max(1, usable_cores() // backends)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch threads started inside use `count` threads each."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def score(answer: Predictions, labels: NDArray[np.int64], classes: int) -> Score:
    """Top-1 with Wilson's 95 % interval, top-5 (for more than five classes) and correct images by class."""
    correct = answer.top1 == labels
    hits = int(correct.sum())
    low, high = wilson_interval(hits, len(labels))
    top5 = answer.top5
    return Score(
        top1=hits / len(labels),
        n=len(labels),
        low=low,
        high=high,
        top5=float(top5.mean()) if top5 is not None and classes > 5 else None,
        correct_by_class=tuple(int(n) for n in np.bincount(labels[correct], minlength=classes)),
    )


def agreement(first: Predictions, second: Predictions) -> float:
    """Share of images with the same top-1 class; an image without finite logits agrees with nothing."""
    same = (first.top1 == second.top1) & (first.top1 >= 0)
    return float(same.mean())


def paired_test(first: Predictions, second: Predictions, labels: NDArray[np.int64]) -> PairedTest:
    """Do the two classify the same images correctly? Exact McNemar test."""
    a, b = first.top1 == labels, second.top1 == labels
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    return PairedTest(
        first=first.backend.name,
        second=second.backend.name,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar_p(only_first, only_second),
    )


def confusion_changes(
    float_answer: Predictions, deployed: Predictions, labels: NDArray[np.int64], names: Sequence[str], most: int = 8
) -> tuple[ConfusionChange, ...]:
    """The confusions (true class taken for another) whose count changed most, largest change first."""
    classes = len(names)
    tables = []
    for answer in (float_answer, deployed):
        wrong = (answer.top1 != labels) & (answer.top1 >= 0)
        flat = np.bincount(labels[wrong] * classes + answer.top1[wrong], minlength=classes * classes)
        tables.append(flat)
    change = np.abs(tables[1] - tables[0])
    order = np.argsort(-change, kind="stable")[:most]
    return tuple(
        ConfusionChange(
            truth=names[index // classes],
            predicted=names[index % classes],
            float_count=int(tables[0][index]),
            deployed_count=int(tables[1][index]),
        )
        for index in order
        if change[index] > 0
    )
