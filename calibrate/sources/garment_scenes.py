"""Scenes of several garments, for detectors and segmenters of these: `--generator fashion_scenes`.

The zoo's pipeline draws garments one by one, which are then pasted on dead leaves and colours.
"""

from calibrate.prompts import UNLABELLED, PromptBook
from calibrate.sources.source import Opening, OpenSource, Source
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.models import source as models
from genq_export.models.loaded import LoadedModel


class GarmentScenesSource(Source):
    """Images of no single class, of the network's size."""

    def identity(self, config: BuildConfig) -> object:
        """Of the network, and of the pipeline."""
        from calibrate.pipeline_files import pipeline_digest

        return [models.identity(config.model), pipeline_digest(zoo.pipeline_folder())]

    def class_names(self, model: LoadedModel) -> tuple[str, ...]:
        """Several in an image."""
        return UNLABELLED

    def open(self, opening: Opening) -> OpenSource:
        """Load the pipeline."""
        from calibrate.sources.garment_scene_images import load_garment_scenes

        images = load_garment_scenes(opening.config, opening.model.input_size[1], opening.progress)
        return OpenSource(images, PromptBook(UNLABELLED, ("",), opening.config.seed))


GARMENT_SCENES = GarmentScenesSource()
