"""The embedded zoo: networks, a text-to-image pipeline for them, and a test set, all in the package."""

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


class ZooDoor(Door):
    """Networks by their names in `genq_export.zoo`."""

    def matches(self, config: ModelConfig) -> bool:
        """By name."""
        return config.name in zoo.ZOO_MODELS

    def identity(self, config: ModelConfig) -> str:
        """Of the embedded weights."""
        return f"zoo {config.name} {file_digest(zoo.weights_file(config.name))}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Always with the embedded weights, which take no time to load."""
        return described(config.name, zoo.create_model(config.name))

    def names(self) -> Sequence[str]:
        """The zoo's."""
        return zoo.ZOO_MODELS

    def has_class_names(self, config: ModelConfig) -> bool:
        """Those of Fashion-MNIST."""
        return True

    def default_generator(self, config: ModelConfig) -> str | None:
        """The zoo's own pipeline."""
        return zoo.ZOO_PIPELINE

    def evaluation_set(self, name: str) -> "EvaluationSet | None":
        """Fashion-MNIST's test images."""
        from genq_export.data.evaluation import EvaluationSet

        return EvaluationSet("Fashion-MNIST test set", *zoo.test_set())

    def offers(self, search: str) -> list[Offer]:
        """Those whose name fits."""
        return [Offer(name, "embedded", f"{zoo.ZOO_PIPELINE} (embedded)") for name in zoo.ZOO_MODELS if search in name]

    def findings(self) -> list[Finding]:
        """Is the pipeline whole?"""
        whole = (zoo.pipeline_folder() / "model_index.json").is_file()
        return [Finding(f"generator {zoo.ZOO_PIPELINE}", "works" if whole else "missing")]


ZOO = ZooDoor()
