"""The scenes that the zoo's detector and segmenter are judged by: drawn of test images when they are asked for."""

import numpy as np

from genq_export import zoo
from genq_export.data.evaluation import EvaluationSet
from genq_export.data.scenes import Scene, backgrounds, draw_scene
from genq_export.data.truth import Boxes

COUNT = 2_000
_SEED, _LEAVES = 7, 100
_FRAME = 2  # pixels around a garment of `zoo.test_set`


def test_scenes(task: str) -> EvaluationSet:
    """The same on every machine, with boxes or masks, as the task takes them."""
    scenes = drawn_scenes(range(COUNT))
    truths = [boxes_of(scene) for scene in scenes] if task == "detection" else [scene.mask for scene in scenes]
    images = np.stack([scene.picture for scene in scenes])
    return EvaluationSet("Fashion-MNIST test scenes", images, None, truths=truths)


def drawn_scenes(numbers: range) -> list[Scene]:
    """Some of the test scenes, whose garments no network has seen."""
    images, labels = zoo.test_set()
    garments = np.ascontiguousarray(images[:, _FRAME:-_FRAME, _FRAME:-_FRAME, 0])
    background = backgrounds(zoo.SCENE_SIDE, _LEAVES, _SEED)
    return [draw_scene(garments, labels, background, np.random.default_rng((_SEED, number))) for number in numbers]


def boxes_of(scene: Scene) -> Boxes:
    """The boxes of a scene as labels."""
    return Boxes(scene.boxes, scene.labels, np.zeros(len(scene.labels), np.bool_))


# pytest collects functions of this prefix from test modules that import them.
test_scenes.__test__ = False  # type: ignore[attr-defined]
