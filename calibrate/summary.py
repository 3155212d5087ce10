"""What the report and the dataset card say about a set: the summary that the calibrate stage leaves."""

from pydantic import BaseModel, ConfigDict, Field

Setting = bool | int | float | str | None


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassCount(_Facts):
    """Images of one class. label: None where images show no class of the network's."""

    label: int | None
    name: str
    kept: int
    drawn: int


class Histogram(_Facts):
    """A score of kept and of dropped images, counted in equal steps from `low` to `high`."""

    low: float
    high: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


class CalibrateSummary(_Facts):
    """Facts of a finished set. What has a default is not known of a set that was taken over.

    generator, license, sampler: what drew the images and how. kept: images that calibrate. drawn: images that were
    drawn. real: reference images that joined. images_per_second: None where none was new. reasons: images by "kept", or
    by what dropped them, most first. classes_thin: were filtered less than asked for, want of usable images.
    classes_dry: have fewer images than asked for. filters: settings of the filters that score images for the network.
    histograms: by name of the filter.
    """

    generator: str
    kept: int
    model: str | None = None
    license: str | None = None
    seed: int | None = None
    sampler: dict[str, Setting] = Field({})
    drawn: int | None = None
    real: int = 0
    images_per_second: float | None = None
    reasons: dict[str, int] = Field({})
    classes: tuple[ClassCount, ...] = ()
    classes_thin: tuple[str, ...] = ()
    classes_dry: tuple[str, ...] = ()
    filters: dict[str, Setting] = Field({})
    histograms: dict[str, Histogram] = Field({})
