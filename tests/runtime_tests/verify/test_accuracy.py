"""Streaming over backends: each once, failures kept apart, NaN never counted as right."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from genq_export.core.errors import BackendError
from genq_export.runtimes.base import Batch, Codes, Outputs
from runtime_tests.verify import accuracy
from runtime_tests.verify.predictions import evaluate

LABELS = np.arange(12) % 4


class Fake:
    """A backend that answers by a function of the batch and counts its calls."""

    device, title = "cpu", "fake"

    def __init__(self, name: str, answer: Callable[[Batch], Batch]) -> None:
        self.name, self._answer, self.calls = name, answer, 0

    def outputs(self, batch: Batch) -> Outputs:
        self.calls += 1
        return {"logits": self._answer(batch)}

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        return self.outputs(batch), {}

    def close(self) -> None:
        pass


def batches() -> Iterator[Batch]:
    """One-hot rows of the labels, five at a time: the identity classifies them all."""
    rows = np.eye(4, dtype=np.float32)[LABELS]
    yield from (rows[start : start + 5] for start in range(0, 12, 5))


def test_every_backend_runs_once_and_scores_add_up() -> None:
    right, wrong = Fake("float", lambda batch: batch), Fake("reference", lambda batch: np.roll(batch, 1, axis=1))
    answers = evaluate(batches(), LABELS, right, [wrong])
    assert (right.calls, wrong.calls) == (3, 3)
    assert accuracy.score(answers["float"], LABELS, 4).top1 == 1
    assert accuracy.score(answers["float"], LABELS, 4).correct_by_class == (3, 3, 3, 3)
    assert accuracy.score(answers["reference"], LABELS, 4).top1 == 0
    assert accuracy.agreement(answers["float"], answers["reference"]) == 0
    test = accuracy.paired_test(answers["float"], answers["reference"], LABELS)
    assert (test.only_first, test.only_second) == (12, 0) and test.p_value == pytest.approx(2 * 0.5**12)
    changes = accuracy.confusion_changes(answers["float"], answers["reference"], LABELS, list("abcd"))
    assert {(c.truth, c.predicted, c.deployed_count) for c in changes} == {
        ("a", "b", 3), ("b", "c", 3), ("c", "d", 3), ("d", "a", 3)
    }  # fmt: skip


def test_images_without_finite_logits_are_wrong_and_agree_with_nothing() -> None:
    def broken(batch: Batch) -> Batch:
        out = batch.copy()
        out[0] = np.nan
        return out

    answers = evaluate(batches(), LABELS, Fake("float", lambda b: b), [Fake("x", broken)])
    assert answers["x"].non_finite == 3
    assert accuracy.score(answers["x"], LABELS, 4).top1 == pytest.approx(9 / 12)
    assert accuracy.agreement(answers["x"], answers["x"]) == pytest.approx(9 / 12)
    assert np.isfinite(answers["x"].mean_kl)


def test_a_failing_backend_is_not_called_again_and_others_go_on() -> None:
    def fail(_: Batch) -> Batch:
        raise BackendError("x crashed")

    failing, fine = Fake("x", fail), Fake("y", lambda batch: batch)
    answers = evaluate(batches(), LABELS, Fake("float", lambda b: b), [failing, fine])
    assert failing.calls == 1 and answers["x"].failure == "x crashed"
    assert fine.calls == 3 and answers["y"].failure is None


def test_another_number_of_classes_is_a_failure() -> None:
    answers = evaluate(batches(), LABELS, Fake("float", lambda b: b), [Fake("x", lambda b: b[:, :3])])
    assert answers["x"].failure == "x knows 3 classes, the float network 4"


def test_float_failing_is_an_error() -> None:
    def fail(_: Batch) -> Batch:
        raise BackendError("no")

    with pytest.raises(BackendError, match="the float network failed: no"):
        evaluate(batches(), LABELS, Fake("float", fail), [])
