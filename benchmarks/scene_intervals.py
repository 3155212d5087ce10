"""How far mAP or mIoU over scenes varies with the scenes: a bootstrap whose resamples are the same for every file.

Scenes are drawn with replacement, as many as there are. What a file answers is matched with the labels once, scene by
scene; each resample counts a scene as often as it was drawn. So mAP of a resample is exactly what COCO's code gives for
those scenes, and differences of two files are paired: scene by scene, garment by garment.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

RESAMPLES, _SEED = 400, 0
_AREA, _MOST = [0, 1e10], 100  # boxes of any size, as many detections of an image as mAP counts
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Judged(Protocol):
    """What a network answered on N scenes, matched with their labels."""

    scenes: int

    def value(self, times: Counts | None = None) -> float:
        """mAP or mIoU, in [0, 1], where scene i counts times[i], int64 [N]; None: once each."""
        ...


def resampled(judged: Judged) -> Floats:
    """The figure on every resample, [RESAMPLES]; the same scenes for every network of as many scenes."""
    generator = np.random.default_rng(_SEED)
    drawn = (generator.integers(judged.scenes, size=judged.scenes) for _ in range(RESAMPLES))
    return np.array([judged.value(np.bincount(scenes, minlength=judged.scenes)) for scenes in drawn])


def keep(judged: Judged, path: Path) -> None:
    """Write what `resampled` gives."""
    path.parent.mkdir(exist_ok=True)
    np.save(path, resampled(judged))


def interval(differences: Floats) -> tuple[float, float]:
    """The 95 % in the middle."""
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)


class JudgedMasks:
    """pairs: int64 [N, classes, classes], each scene's pixels by the labelled class and the class that was found."""

    def __init__(self, pairs: Sequence[Counts]) -> None:
        self._pairs = np.stack(pairs)
        self.scenes = len(pairs)

    def value(self, times: Counts | None = None) -> float:
        """IoU, mean over the classes that are labelled or found."""
        pairs = self._pairs.sum(0) if times is None else np.tensordot(times, self._pairs, 1)
        both = np.diag(pairs)
        either = pairs.sum(0) + pairs.sum(1) - both
        return float((both[either > 0] / either[either > 0]).mean())


@dataclass(frozen=True)
class _OfClass:
    """Detections of one class, best first: the scene of each, [D], and right or wrong by overlap, [overlaps, D]."""

    labelled: Counts  # boxes in each scene, [N]
    scenes: Counts
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


class JudgedBoxes:
    """images: of each scene labelled boxes and detections, as torchmetrics takes them (corners, labels, scores)."""

    def __init__(self, images: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.scenes = len(images)
        evaluated = _evaluated(images)
        self._recalls: Floats = torch.linspace(0, 1, 101).double().numpy()  # as torchmetrics rounds them
        per_class = [
            evaluated.evalImgs[start : start + self.scenes] for start in range(0, len(evaluated.evalImgs), self.scenes)
        ]
        self._classes = [_of_class(found) for found in per_class]

    def value(self, times: Counts | None = None) -> float:
        """COCO's mAP@50:95: mean precision over recalls, overlaps and the classes that have a labelled box."""
        times = np.ones(self.scenes, np.int64) if times is None else times
        values = [self._precision(one, times) for one in self._classes if (times * one.labelled).any()]
        return float(np.mean(values)) if values else 0.0

    def _precision(self, one: _OfClass, times: Counts) -> float:
        weights, labelled, kept = times[one.scenes], int((times * one.labelled).sum()), 0.0
        right = np.cumsum(one.right * weights, axis=1)
        all_found = right + np.cumsum(one.wrong * weights, axis=1)
        precision = right / (all_found + np.spacing(1))
        best_behind = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for recall, best in zip(right / labelled, best_behind, strict=True):
            places = np.searchsorted(recall, self._recalls, side="left")
            kept += best[places[places < len(best)]].sum()
        return kept / (len(right) * len(self._recalls))


def _of_class(found: list[dict[str, Any] | None]) -> _OfClass:
    """What COCOeval says of one class, scene by scene; None: neither labelled nor found there."""
    labelled = np.array([0 if one is None else int((one["gtIgnore"] == 0).sum()) for one in found])
    there = [(number, one) for number, one in enumerate(found) if one is not None]
    scores = np.concatenate([one["dtScores"] for _, one in there])
    order = np.argsort(-scores, kind="mergesort")
    scenes = np.concatenate([np.full(len(one["dtScores"]), number) for number, one in there])[order]
    matched = np.concatenate([one["dtMatches"] for _, one in there], axis=1)[:, order] > 0
    ignored = np.concatenate([one["dtIgnore"] for _, one in there], axis=1)[:, order] > 0
    return _OfClass(labelled, scenes, matched & ~ignored, ~matched & ~ignored)


def _evaluated(images: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Any:
    """COCOeval behind its matching."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = sorted({int(label) for pair in images for part in pair for label in part["labels"]})
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for part in (0, 1):
            side = COCO()
            side.dataset = {
                "images": [{"id": number} for number in range(len(images))],
                "categories": [{"id": number} for number in classes],
                "annotations": list(_annotations([pair[part] for pair in images])),
            }
            side.createIndex()
            sides.append(side)
        evaluated = COCOeval(*sides, "bbox")
        evaluated.params.areaRng, evaluated.params.areaRngLbl, evaluated.params.maxDets = [_AREA], ["all"], [_MOST]
        evaluated.evaluate()
    return evaluated


def _annotations(images: Sequence[dict[str, Any]]) -> Any:
    number = 0
    for image, found in enumerate(images):
        crowd = found.get("iscrowd", [0] * len(found["labels"]))
        scores = found.get("scores", [1.0] * len(found["labels"]))
        for (left, top, right, bottom), label, many, score in zip(
            found["boxes"].tolist(), found["labels"], crowd, scores, strict=True
        ):
            number += 1
            box = [left, top, right - left, bottom - top]
            yield {
                "id": number, "image_id": image, "category_id": int(label), "bbox": box, "area": box[2] * box[3],
                "iscrowd": int(many), "score": float(score),
            }  # fmt: skip
