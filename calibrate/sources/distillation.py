"""Calibration images out of the network itself: no generative model, no download, `--generator distill`."""

from calibrate.prompts import PromptBook
from calibrate.sources.source import Opening, OpenSource, Source, network_classes
from genq_export.models import source as models


class DistillationSource(Source):
    """Images that are made to have the network's statistics: to filter by them would only throw images away."""

    filtered = False

    def open(self, opening: Opening) -> OpenSource:
        """Look at what the network offers to distil from.

        Raises:
            UserError: where that is neither BatchNorm statistics nor attention.
        """
        from calibrate.sources.distilled_images import DistilledImages

        config = opening.config
        identity = models.identity(config.model)
        images = DistilledImages(opening.model, identity, config.calibrate, config.device)
        return OpenSource(images, PromptBook(network_classes(opening.model), ("",), config.seed))


DISTILLATION = DistillationSource()
