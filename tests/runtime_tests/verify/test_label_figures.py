"""What a detector or a segmenter loses against labels is counted for every backend, judged by bits, and said first."""

from typing import Any

import numpy as np
import pytest

from genq_export.config.verify import GatesConfig
from genq_export.tasks.task import task_of
from runtime_tests.report.render.key_figures import key_figures
from runtime_tests.report.render.views import figures
from runtime_tests.report.verdict import verdict
from runtime_tests.verify import gates
from runtime_tests.verify.label_figures import LabelCount
from runtime_tests.verify.results import AnswerFigure, Evaluation, Verification
from tests.runtime_tests.measured import grids, messages, report, run

MASKS = [np.full((4, 4), label, np.uint8) for label in (0, 1, 2, 1)]
RIGHT = np.eye(3, dtype=np.float32)[np.stack(MASKS)].transpose(0, 3, 1, 2)


def measured(deployed: float, reference: float = 0.615, **changes: Any) -> Verification:
    by_backend = {"float": 0.62, "reference": reference, "onnxruntime": deployed}
    found = tuple(
        AnswerFigure(
            backend=name,
            images="evaluation",
            n=2000,
            name="map",
            title="mAP@50:95 against labels",
            value=value,
            unit="%",
        )
        for name, value in by_backend.items()
    )
    return run(task="detection", accuracy={}, agreement={}, against_labels=found, **changes)


def test_every_backend_is_counted_batch_by_batch() -> None:
    count = LabelCount(task_of("segmentation"), "evaluation", MASKS)
    for start in (0, 2):
        count.add("float", {"out": RIGHT[start : start + 2]})
        count.add("onnxruntime", {"out": np.roll(RIGHT[start : start + 2], 1, 1)})
    count.add("reference", {"out": RIGHT[:2]})  # and fails at the next
    found = {(item.backend, item.name): item.value for item in count.figures()}
    assert found["float", "miou"] == 1 and found["onnxruntime", "miou"] == 0
    assert not any(backend == "reference" for backend, _ in found)


def test_the_loss_is_judged_by_bits_or_as_set() -> None:
    assert "accuracy_loss" not in messages(measured(0.60), bits=4)
    message = messages(measured(0.60), bits=8)["accuracy_loss"]
    assert message.startswith("mAP@50:95 fell by 2.00 points, 0.60 are allowed at W8A8")
    assert "1.50 of them between the reference and the file" in message
    assert "accuracy_loss" not in messages(measured(0.60), GatesConfig(max_accuracy_loss=3), bits=8)
    assert "the reference already loses 2.00" in messages(measured(0.60, 0.60), bits=8)["accuracy_loss"]


def test_without_labels_there_is_no_condition_and_it_is_said() -> None:
    unlabelled = run(task="detection", accuracy={}, evaluation=Evaluation(name="x", n=3, labelled=False))
    _, skipped = gates.check(unlabelled, (), GatesConfig(), grids(8))
    reasons = {item.name: item.reason for item in skipped}
    assert reasons["accuracy_loss"].startswith("no labelled images")
    assert gates.accuracy_loss(unlabelled) is None


def test_the_report_speaks_of_the_task() -> None:
    found = measured(0.60)
    assert "reaches 60.00 % mAP@50:95 and loses 2.00 points against float" in verdict(found, "onnxruntime", (), ())
    first = figures(report(found))[0]
    assert (first.value, first.unit, first.label) == ("\N{MINUS SIGN}2.00", "points", "mAP@50:95 against labels")
    rows = {row.what: row.figure for row in key_figures(report(found))}
    assert rows["mAP@50:95 against labels, float"] == "62.00 %" and rows["accuracy loss"] == "2.00 points"


def test_a_float_network_that_finds_nothing_is_said_first() -> None:
    blind = measured(0.0).against_labels
    blind = tuple(item.model_copy(update={"value": 0.002}) for item in blind)
    said = verdict(run(task="detection", accuracy={}, against_labels=blind), "onnxruntime", (), ())
    assert said.startswith("Float itself reaches 0.20 % of mAP@50:95 against labels")


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_more_bits_may_lose_no_more(task: str) -> None:
    allowed = [task_of(task).most_lost(bits) for bits in range(2, 9)]
    assert None not in allowed and allowed == sorted(allowed, reverse=True)  # type: ignore[type-var]
