"""How the calibration set is made."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from genq_export.config.base import Frozen


class CalibrateConfig(Frozen):
    """How the synthetic calibration set is made and filtered (GenQ §3).

    GenQ does not publish how much each filter drops. Ours: most of it by distribution, which on the embedded zoo tells
    images like the training data from others far better than energy does (calibrate/README.md).
    """

    made_before: Path | None = Field(None, description="build folder (or its calibration/) whose set is used as it is")
    generator: str | None = Field(None, description="diffusers pipeline: hub name or folder; `distill`; `leaves`")
    images: int = Field(1024, ge=1, description="images to keep")
    energy_keep: float = Field(0.9, gt=0, le=1, description="share of each class that the energy filter keeps; 1: off")
    distribution_keep: float = Field(
        0.75, gt=0, le=1, description="share of these that the distribution filter keeps; 1: off"
    )
    energy_max: float | None = Field(None, description="images of a higher energy are never kept and drawn anew")
    pool_limit: float = Field(4.0, ge=1, le=64, description="images drawn at most for one kept, class by class")
    guidance: float | None = Field(
        None,
        ge=0,
        description="classifier-free guidance scale; None: 3.5 for Stable Diffusion 1 and 2 (GenQ), 0 for Turbo, else"
        " the pipeline's own",
    )
    steps: int | None = Field(None, ge=1, description="sampler steps; None: what the pipeline's scheduler needs")
    size: int | None = Field(None, ge=8, description="generated pixels a side; None: the generator's own")
    batch_size: int | None = Field(
        None, ge=1, description="images drawn together, part of the seed contract; None: by image size"
    )
    energy_temperature: float = Field(1.0, gt=0)
    prompts: Literal["class", "mixup"] = Field(
        "class", description="one class name a prompt, or two (arXiv 2507.21947)"
    )
    templates: Path | None = Field(
        None, description="text file with one prompt template a line, `{}` for the class name"
    )
    real: Path | None = Field(
        None, description="folder of a few real images to learn one style token from (data-scarce)"
    )
    style: Path | None = Field(None, description="style token learned before, or by textual inversion elsewhere")
    join_real: bool = Field(True, description="the real images are part of the calibration set")
    inversion_steps: int | None = Field(None, ge=1, description="steps to learn the token; None: by image size")
    disambiguate: bool = Field(True, description="ImageNet names with their WordNet gloss, so that `kite` is the bird")

    @property
    def pool_factor(self) -> float:
        """Images drawn for one kept when none is unusable: what the two kept shares leave."""
        return 1 / (self.energy_keep * self.distribution_keep)
