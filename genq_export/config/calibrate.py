"""How the calibration set is made."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from genq_export.config.base import Formerly, Frozen, OneOf, Option
from genq_export.config.registry import SOURCES


class CalibrateConfig(Frozen):
    """How the synthetic calibration set is made and filtered (GenQ §3).

    GenQ does not publish how much each filter drops. Ours: most of it by distribution, which on the embedded zoo tells
    images like the training data from others far better than energy does (calibrate/README.md).
    """

    calibration_set: Annotated[
        Path | None, Option(("build", "quantize"), flags=("--calibration",)), Formerly("calibrate.made_before")
    ] = Field(None, description="build folder (or its calibration/) whose set is used as it is, or images of your own")
    generator: Annotated[
        str | None, OneOf("generator", lambda: SOURCES, others=True), Option(("build", "calibrate"))
    ] = Field(
        None,
        description="text-to-image pipeline (hub name, folder of diffusers, single-file checkpoint), `distill`,"
        " `leaves`, `text`, or `fashion_scenes`",
    )
    generator_config: Annotated[Path | None, Option(("build", "calibrate"))] = Field(
        None, description="folder of a pipeline that says what a single-file checkpoint consists of; without: the hub's"
    )
    lora: Annotated[tuple[str, ...], Option(("build", "calibrate"))] = Field(
        (), max_length=16, description="LoRA weights for the pipeline: file or hub name, `:0.8` behind it for a weight"
    )
    images: Annotated[int, Option(("build", "calibrate"))] = Field(
        1024, ge=1, le=10_000_000, description="calibration images to keep"
    )
    energy_keep: float = Field(0.9, gt=0, le=1, description="share of each class that the energy filter keeps; 1: off")
    distribution_keep: float = Field(
        0.75, gt=0, le=1, description="share of these that the distribution filter keeps; 1: off"
    )
    energy_max: float | None = Field(
        None, ge=-1e6, le=1e6, description="images of a higher energy are never kept and drawn anew"
    )
    pool_limit: float = Field(4.0, ge=1, le=64, description="images drawn at most for one kept, class by class")
    guidance: Annotated[float | None, Option(("build", "calibrate"))] = Field(
        None,
        ge=0,
        le=100,
        description="classifier-free guidance scale; without: 3.5 for Stable Diffusion 1 and 2 (GenQ), 0 for Turbo,"
        " else the pipeline's own",
    )
    steps: Annotated[int | None, Option(("build", "calibrate"))] = Field(
        None, ge=1, le=100_000, description="sampler steps; without: what the pipeline's scheduler needs"
    )
    size: Annotated[int | None, Option(("build", "calibrate"), "draw_size")] = Field(
        None, ge=8, le=8192, description="generated pixels a side; without: the generator's own"
    )
    batch_size: int | None = Field(
        None, ge=1, le=4096, description="images drawn together, part of the seed contract; None: by image size"
    )
    energy_temperature: float = Field(1.0, gt=0, le=1e6, description="temperature of the energy score")
    prompts: Literal["class", "mixup"] = Field(
        "class", description="one class name a prompt, or two (arXiv 2507.21947)"
    )
    templates: Path | None = Field(
        None, description="text file with one prompt template a line, `{}` for the class name"
    )
    real: Annotated[Path | None, Option(("build", "calibrate"))] = Field(
        None, description="a few real images (as --eval takes them) to learn one style token from (data-scarce)"
    )
    style: Path | None = Field(None, description="style token learned before, or by textual inversion elsewhere")
    join_real: bool = Field(True, description="the real images are part of the calibration set")
    inversion_steps: int | None = Field(
        None, ge=1, le=1_000_000, description="steps to learn the token; None: by image size"
    )
    disambiguate: bool = Field(True, description="ImageNet names with their WordNet gloss, so that `kite` is the bird")

    @property
    def pool_factor(self) -> float:
        """Images drawn for one kept when none is unusable: what the two kept shares leave."""
        return 1 / (self.energy_keep * self.distribution_keep)
