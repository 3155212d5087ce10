"""Detection: boxes and a score for each class of each, in front of the suppression of those that overlap."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genq_export.data.truth import Boxes, Truth
from genq_export.network.outputs import Answer
from genq_export.tasks.boxes import (
    SIDES,
    Images,
    average_precision,
    boxes_and_scores,
    detections,
    has_corners,
    layout_of,
)
from genq_export.tasks.shown import Shown, ShownBoxes
from genq_export.tasks.task import Arrays, Comparison, Figure, Metric, Shapes, Task
from genq_export.tasks.tensors import WorstOutput, mean_relative_error

if TYPE_CHECKING:
    from genq_export.data.classifier import Classes, Classifier
    from genq_export.data.evaluation import EvaluationSet
    from genq_export.data.raw import Reading

TRUE_SCORE = 0.3  # of float's detections that count as the truth
_LEAST_SCORE = 0.05
_FAINTEST = 0.01  # score of what is held against labels: mAP takes precision at all recalls
_LIBRARIES = ("torchmetrics", "pycocotools")
# Of mAP against float's detections. [ours]
_LEAST = {2: 0.0, 3: 0.1, 4: 0.3, 5: 0.5, 6: 0.65, 7: 0.75, 8: 0.8}
# Points of mAP against labels. [ours]
_MOST_LOST = {2: 25.0, 3: 10.0, 4: 4.0, 5: 2.5, 6: 1.5, 7: 1.0, 8: 0.6}


class Detection(Task):
    """Two outputs [B, boxes, 4] and [B, boxes, classes], either turned, or one [B, 4 + classes, boxes]."""

    name = "detection"
    title = "detection"
    expected = (
        "it needs boxes [images, boxes, 4] and scores [images, boxes, classes], or one output [images, 4 + classes,"
        " boxes]"
    )

    def fits(self, shapes: Shapes) -> bool:
        """Boxes and scores of as many."""
        return layout_of(shapes) is not None

    def is_likely(self, shapes: Shapes) -> bool:
        """Two outputs that fit; one matrix may be anything."""
        return len(shapes) > 1 and self.fits(shapes)

    def classes(self, shapes: Shapes) -> int:
        """Scores of a box."""
        found = layout_of(shapes)
        assert found is not None
        rows = shapes[found.scores][0 if found.scores_last else 1]
        return rows - SIDES if found.together else rows

    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """Mean over the outputs of the squared error as a share of the output's power."""
        return mean_relative_error(student, teacher)

    def shown(self, outputs: Arrays) -> list[Shown]:
        """Detections above the score from which float's count as the truth."""
        layout = layout_of({name: array.shape[1:] for name, array in outputs.items()})
        assert layout is not None
        boxes, scores = boxes_and_scores(layout, outputs)
        corners, shown = has_corners(boxes), list[Shown]()
        for of_image, their_scores in zip(boxes, scores, strict=True):
            found = detections(of_image, their_scores, corners, TRUE_SCORE)
            shown.append(ShownBoxes(found["boxes"].numpy(), found["labels"].numpy(), found["scores"].numpy()))
        return shown

    def comparison(self) -> Comparison:
        """Float's own detections as the truth."""
        return SameDetections()

    def least(self, bits: int) -> Mapping[str, float]:
        """Of mAP against float's detections."""
        return {"map_of_float": _LEAST[bits]}

    def most_lost(self, bits: int) -> float:
        """Of mAP against labels."""
        return _MOST_LOST[bits]

    def metric(self) -> Metric | None:
        """mAP against labelled boxes, where its libraries are here."""
        return None if self.problems() else LabelledBoxes()

    def read_evaluation_set(self, source: Path, network: "Classifier", reading: "Reading") -> "EvaluationSet":
        """With a JSON file of boxes as COCO has them, or without labels."""
        from genq_export.data.coco import annotation_file, read_boxes

        file = annotation_file(source)
        if file is None:
            return super().read_evaluation_set(source, network, reading)
        return read_boxes(source, file, network, reading)

    def check_evaluation_set(self, source: Path, network: "Classes | None", reading: "Reading") -> None:
        """Boxes, where there is a file of them."""
        from genq_export.data.coco import annotation_file, check_boxes

        super().check_evaluation_set(source, network, reading)
        file = annotation_file(source)
        if file is not None:
            check_boxes(source, file)

    def problems(self) -> list[str]:
        """The libraries of the metric."""
        missing = [name for name in _LIBRARIES if find_spec(name) is None]
        remedy = "pip install 'genq-export[detection]'"
        return [f"mAP of detectors needs {' and '.join(missing)}: {remedy}"] if missing else []


DETECTION = Detection()


class SameDetections(Comparison):
    """mAP@50:95 of the other's detections where float's above a score are the truth, and SQNR of the outputs."""

    def __init__(self) -> None:
        self._images: Images = []
        self._worst = WorstOutput()
        self._corners: bool | None = None

    def add(self, reference: Arrays, found: Arrays) -> None:
        """Keep one batch's detections."""
        self._worst.add(reference, found)
        layout = layout_of({name: array.shape[1:] for name, array in reference.items()})
        assert layout is not None
        right, got = boxes_and_scores(layout, reference), boxes_and_scores(layout, found)
        if self._corners is None:
            self._corners = has_corners(right[0])
        for (boxes, scores), (others, their_scores) in zip(
            zip(*right, strict=True), zip(*got, strict=True), strict=True
        ):
            truth = detections(boxes, scores, self._corners, TRUE_SCORE)
            seen = detections(others, their_scores, self._corners, _LEAST_SCORE)
            self._images.append((truth, seen))

    def figures(self) -> tuple[Figure, ...]:
        """mAP first, where float detects anything."""
        if DETECTION.problems() or not any(len(truth["boxes"]) for truth, _ in self._images):
            return self._worst.figures()
        title = f"mAP against float's detections of {TRUE_SCORE:g} and more"
        return (Figure("map_of_float", title, average_precision(self._images).over_overlaps), *self._worst.figures())


class LabelledBoxes(Metric):
    """mAP@50:95 and mAP@50 against labelled boxes, COCO's."""

    def __init__(self) -> None:
        self._images: Images = []
        self._corners: bool | None = None

    def add(self, found: Arrays, truths: Sequence[Truth]) -> None:
        """Keep one batch's detections and labels."""
        layout = layout_of({name: array.shape[1:] for name, array in found.items()})
        assert layout is not None
        boxes, scores = boxes_and_scores(layout, found)
        if self._corners is None:
            self._corners = has_corners(boxes)
        for of_image, their_scores, truth in zip(boxes, scores, truths, strict=True):
            assert isinstance(truth, Boxes)
            labelled = {
                "boxes": torch.from_numpy(truth.corners),
                "labels": torch.from_numpy(truth.labels),
                "iscrowd": torch.from_numpy(truth.crowd).long(),
            }
            self._images.append((labelled, detections(of_image, their_scores, self._corners, _FAINTEST)))

    @property
    def images(self) -> Images:
        """What is labelled and what is detected, of each image so far."""
        return self._images

    def figures(self) -> tuple[Figure, ...]:
        """mAP@50:95 first; none without a labelled box."""
        if not any(len(truth["boxes"]) for truth, _ in self._images):
            return ()
        precision = average_precision(self._images)
        return (
            Figure("map", "mAP@50:95 against labels", precision.over_overlaps),
            Figure("map_50", "mAP@50 against labels", precision.at_half),
        )
