"""The shipped detector and segmenter load, give what their tasks take, and are as good as stated."""

import numpy as np
import pytest
import torch

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.data.evaluation import EvaluationSet
from genq_export.models.source import evaluation_set, load_model
from genq_export.models.zoo_scenes import COUNT, boxes_of, drawn_scenes
from genq_export.network.outputs import by_name
from genq_export.tasks.task import task_of
from genq_export.zoo.detector import BINS, Detector

FEW = 100


@pytest.mark.parametrize("name", zoo.ZOO_SCENE_MODELS)
def test_it_loads_and_its_outputs_are_its_tasks(name: str) -> None:
    model = load_model(ModelConfig(name=name))
    assert not zoo.create_scene_model(name).training
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}
    assert task_of(model.task).fits(model.outputs) and task_of(model.task).classes(model.outputs) == model.classes
    assert model.class_names is not None and model.class_names[-10:] == zoo.CLASS_NAMES
    assert zoo.weights_file(name).stat().st_size <= 1_000_000


def figure(name: str, count: int) -> float:
    model, scenes = load_model(ModelConfig(name=name)), drawn_scenes(range(count))
    metric = task_of(model.task).metric()
    assert metric is not None
    truths = [boxes_of(scene) if model.task == "detection" else scene.mask for scene in scenes]
    images = EvaluationSet("scenes", np.stack([scene.picture for scene in scenes]), None)
    with torch.inference_mode():
        for start, batch in zip(range(0, count, 50), images.batches(model, 50), strict=True):
            outputs = {name: tensor.numpy() for name, tensor in by_name(model.module(batch)).items()}
            metric.add(outputs, truths[start : start + 50])
    return metric.figures()[0].value


@pytest.mark.parametrize("name", zoo.ZOO_SCENE_MODELS)
def test_it_sees_what_is_in_the_first_scenes(name: str) -> None:
    assert figure(name, FEW) > 0.4


@pytest.mark.slow
def test_the_scenes_are_neither_too_easy_nor_too_hard() -> None:
    assert 0.45 <= figure("fashion_detector", COUNT) <= 0.80


@pytest.mark.slow
def test_the_test_scenes_are_those_that_the_issue_asks_for() -> None:
    found = evaluation_set(load_model(ModelConfig(name="fashion_detector")), None)
    assert found is not None and found.truths is not None and len(found) == len(found.truths) == 2000
    hidden = np.concatenate([scene.hidden for scene in drawn_scenes(range(COUNT))])
    assert (hidden >= 0.1).mean() >= 0.2


def test_a_box_is_the_mean_of_its_sides_distributions() -> None:
    detector = Detector(3, 32)
    sides = torch.full((1, len(detector.centres), 4, BINS), -30.0)
    sides[..., 2] = 30.0  # two strides, surely
    boxes = detector.placed(sides)[0]
    middles = detector.centres * detector.strides
    torch.testing.assert_close(boxes, torch.cat((middles - 2 * detector.strides, middles + 2 * detector.strides), 1))


def test_an_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="fashion_detector"):
        zoo.create_scene_model("fashion_resnet")
