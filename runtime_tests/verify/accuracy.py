"""What did it cost: accuracy, agreement and confusions from the answers of the runtimes. Pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from runtime_tests.verify.metrics import mcnemar_p, wilson_interval
from runtime_tests.verify.predictions import Predictions
from runtime_tests.verify.results import FLOAT, REFERENCE, ConfusionChange, PairedTest, Score


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


def scores(answers: Mapping[str, Predictions], labels: NDArray[np.int64], classes: int) -> dict[str, Score]:
    """`score` of every runtime by name."""
    return {name: score(answer, labels, classes) for name, answer in answers.items()}


def agreements(answers: Mapping[str, Predictions]) -> dict[str, float]:
    """Against float for everyone, `a_vs_float`; against the reference for what should equal it, `a_vs_reference`."""
    found = {
        f"{name}_vs_{FLOAT}": agreement(answer, answers[FLOAT])
        for name, answer in answers.items()
        if name != FLOAT and FLOAT in answers
    }
    reference = answers.get(REFERENCE)
    if reference is None:
        return found
    others = {name: answer for name, answer in answers.items() if name not in (FLOAT, REFERENCE)}
    return found | {f"{name}_vs_{REFERENCE}": agreement(answer, reference) for name, answer in others.items()}


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
