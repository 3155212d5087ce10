"""The embedded zoo: networks, a text-to-image pipeline for them, and test images, all in the package."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.data.digests import file_digest
from genq_export.models.door import Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.timm_hub import described

if TYPE_CHECKING:
    from genq_export.data.evaluation import EvaluationSet

_NAMES = (*zoo.ZOO_MODELS, *zoo.ZOO_SCENE_MODELS)
_SCENES = "fashion_scenes"  # calibration source of `config.registry.SOURCES`
_TASKS = {"fashion_detector": "detection", "fashion_segmenter": "segmentation"}
_CLASSES = {"fashion_detector": zoo.CLASS_NAMES, "fashion_segmenter": ("background", *zoo.CLASS_NAMES)}


class ZooDoor(Door):
    """Networks by their names in `genq_export.zoo`."""

    def matches(self, config: ModelConfig) -> bool:
        """By name."""
        return config.name in _NAMES

    def identity(self, config: ModelConfig) -> str:
        """Of the embedded weights."""
        return f"zoo {config.name} {file_digest(zoo.weights_file(config.name))}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Always with the embedded weights, which take no time to load."""
        if config.name in zoo.ZOO_SCENE_MODELS:
            return _of_scenes(config.name)
        return described(config.name, zoo.create_model(config.name))

    def names(self) -> Sequence[str]:
        """The zoo's."""
        return _NAMES

    def has_class_names(self, config: ModelConfig) -> bool:
        """Those of Fashion-MNIST."""
        return True

    def task(self, config: ModelConfig) -> str | None:
        """What each of those for scenes was made for."""
        return _TASKS.get(config.name)

    def default_generator(self, config: ModelConfig) -> str | None:
        """The zoo's own pipeline, for one garment an image or for scenes."""
        return _SCENES if config.name in zoo.ZOO_SCENE_MODELS else zoo.ZOO_PIPELINE

    def evaluation_set(self, name: str) -> "EvaluationSet | None":
        """Fashion-MNIST's test images, alone or in scenes."""
        from genq_export.data.evaluation import EvaluationSet

        if name in zoo.ZOO_SCENE_MODELS:
            from genq_export.models.zoo_scenes import test_scenes

            return test_scenes(_TASKS[name])
        return EvaluationSet("Fashion-MNIST test set", *zoo.test_set())

    def offers(self, search: str) -> list[Offer]:
        """Those whose name fits."""
        drawn = {name: _SCENES if name in zoo.ZOO_SCENE_MODELS else zoo.ZOO_PIPELINE for name in _NAMES}
        return [Offer(name, "embedded", f"{by} (embedded)") for name, by in drawn.items() if search in name]

    def findings(self) -> list[Finding]:
        """Is the pipeline whole?"""
        whole = (zoo.pipeline_folder() / "model_index.json").is_file()
        return [Finding(f"generator {zoo.ZOO_PIPELINE}", "works" if whole else "missing")]


def _of_scenes(name: str) -> LoadedModel:
    """A detector or segmenter, with what it takes and tells apart."""
    return LoadedModel(
        name=name,
        module=zoo.create_scene_model(name),
        input_size=(3, zoo.SCENE_SIDE, zoo.SCENE_SIDE),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_pct=1.0,
        interpolation="bilinear",
        class_names=_CLASSES[name],
        classes=len(_CLASSES[name]),
        task=_TASKS[name],
    )


ZOO = ZooDoor()
