"""`benchmarks/scene_intervals.py`: a scene that is drawn twice counts as two scenes would."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from genq_export.tasks.boxes import average_precision
from genq_export.tasks.segmentation import LabelledMasks

FILE = Path(__file__).resolve().parent.parent / "benchmarks" / "scene_intervals.py"


@pytest.fixture(scope="module")
def intervals() -> ModuleType:
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look their own module up
    spec.loader.exec_module(found)
    return found


def scene(generator: np.random.Generator, classes: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Some labelled boxes; each found a little beside its place, most in their class, and boxes where nothing is."""
    count = int(generator.integers(0, 5))
    corners = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate((corners, corners + generator.uniform(8, 30, (count, 2))), 1).astype(np.float32)
    labels = generator.integers(0, classes, count)
    wrong = generator.uniform(0, 80, (4, 4)).astype(np.float32)
    wrong[:, 2:] += wrong[:, :2]
    found = np.concatenate((boxes + generator.normal(0, 1.5, boxes.shape), wrong)).astype(np.float32)
    classes_found = np.concatenate((labels, generator.integers(0, classes, 4)))
    scores = generator.uniform(0.05, 1, len(found)).astype(np.float32)
    truth = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels), "iscrowd": torch.zeros(count).long()}
    seen = {"boxes": torch.from_numpy(found), "labels": torch.from_numpy(classes_found)}
    return truth, seen | {"scores": torch.from_numpy(scores)}


def test_map_of_a_resample_is_that_of_its_scenes(intervals: ModuleType) -> None:
    pytest.importorskip("torchmetrics")
    pytest.importorskip("pycocotools")
    generator = np.random.default_rng(3)
    scenes = [scene(generator, 3) for _ in range(30)]
    judged = intervals.JudgedBoxes(scenes)
    assert judged.value() == pytest.approx(average_precision(scenes).over_overlaps, abs=1e-6)
    drawn = generator.integers(30, size=30)
    times = np.bincount(drawn, minlength=30)
    expected = average_precision([scenes[number] for number in drawn]).over_overlaps
    assert judged.value(times) == pytest.approx(expected, abs=1e-6)
    assert judged.value() != pytest.approx(expected, abs=1e-4)


def test_iou_of_a_resample_is_that_of_its_scenes(intervals: ModuleType) -> None:
    generator = np.random.default_rng(4)
    logits = generator.normal(size=(12, 4, 6, 6)).astype(np.float32)
    masks = generator.integers(0, 4, (12, 6, 6)).astype(np.uint8)

    def counted(places: list[int]) -> LabelledMasks:
        metric = LabelledMasks()
        metric.add({"output": logits[places]}, [masks[place] for place in places])
        return metric

    judged = intervals.JudgedMasks([counted([place]).confusion.pairs for place in range(12)])
    drawn = generator.integers(12, size=12).tolist()
    times = np.bincount(drawn, minlength=12)
    assert judged.value(times) == pytest.approx(counted(drawn).figures()[0].value)
    assert judged.value() == pytest.approx(counted(list(range(12))).figures()[0].value)


def test_resamples_are_the_same_scenes_for_every_network(intervals: ModuleType) -> None:
    pairs = [np.diag([1 + number, 5]) + 1 for number in range(20)]
    first, second = (intervals.resampled(intervals.JudgedMasks(pairs)) for _ in range(2))
    assert first.shape == (intervals.RESAMPLES,)
    assert (first == second).all()
    low, high = intervals.interval(first)
    assert low < first.mean() < high
