"""What the calibration stage recorded, arranged for a reader."""

from dataclasses import dataclass

from calibrate.summary import CalibrateSummary, ClassCount, Histogram, Setting

_SCORES = {
    "energy": ("Energy", "Further left, the network is surer that the image is of a kind it was trained on."),
    "bn_sensitivity": (
        "BatchNorm sensitivity",
        "Further right, the image moves the batch further from the statistics of the training data.",
    ),
    "patch_entropy": ("Patch-similarity entropy", "Further right, the image gives the transformer more to attend to."),
}
_FILTERS = {"energy": "energy", "distribution": "distribution", "flat": "flat or not finite"}
_MOST_CLASSES = 40
_MOST_NAMES = 8


@dataclass(frozen=True)
class HistogramView:
    """A score of the images: counts by column, and what a column says when pointed at."""

    title: str
    caption: str
    low: float
    high: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    hovers: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationView:
    """The section of the page. facts: (name, value). classes: empty where there are too many to show."""

    message: str
    facts: tuple[tuple[str, str], ...]
    histograms: tuple[HistogramView, ...]
    classes: tuple[ClassCount, ...]


def calibration_view(summary: CalibrateSummary | None) -> CalibrationView | None:
    """What a reader sees of the calibration set; None where nothing was recorded."""
    if summary is None:
        return None
    return CalibrationView(
        message=_message(summary),
        facts=tuple(_facts(summary)),
        histograms=tuple(_histogram(name, stored) for name, stored in summary.histograms.items() if stored.kept),
        classes=summary.classes if len(summary.classes) <= _MOST_CLASSES else (),
    )


def _message(summary: CalibrateSummary) -> str:
    source = f" that {summary.generator} drew"
    if summary.drawn is None:
        return f"{summary.kept:,} images of {summary.generator} were used."
    fallen = [
        f"{count:,} ({_FILTERS.get(name, name.replace('_', ' '))})"
        for name, count in summary.reasons.items()
        if name != "kept" and count
    ]
    lost = f"; the filters dropped {' and '.join(fallen)}" if fallen else ""
    return f"{summary.kept:,} of the {summary.drawn:,} images{source} were kept{lost}."


def _facts(summary: CalibrateSummary) -> list[tuple[str, str]]:
    """Settings of generator and filters as `name, value`."""
    found = [("Generator", summary.generator)]
    if summary.license is not None:
        found.append(("License", summary.license))
    if summary.seed is not None:
        found.append(("Seed", str(summary.seed)))
    for title, settings in (("Sampler", summary.sampler), ("Filters", summary.filters)):
        if parts := _settings(settings):
            found.append((title, ", ".join(parts)))
    for title, names in (
        ("Filtered less than asked for", summary.classes_thin),
        ("Fewer images than asked for", summary.classes_dry),
    ):
        if names:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            found.append((title, ", ".join(names[:_MOST_NAMES]) + more))
    return found


def _settings(settings: dict[str, Setting]) -> list[str]:
    """Numbers and words; switches and what is not set are left out."""
    shown = {name: value for name, value in settings.items() if value is not None and not isinstance(value, bool)}
    return [f"{name.replace('_', ' ')} {value}" for name, value in shown.items()]


def _histogram(name: str, stored: Histogram) -> HistogramView:
    low, width = stored.low, (stored.high - stored.low) / len(stored.kept)
    title, caption = _SCORES.get(name, (name.replace("_", " ").capitalize(), ""))
    hovers = tuple(
        f"{low + number * width:.2f} to {low + (number + 1) * width:.2f}: {kept} kept, {dropped} dropped"
        for number, (kept, dropped) in enumerate(zip(stored.kept, stored.dropped, strict=True))
    )
    return HistogramView(title, caption, low, stored.high, stored.kept, stored.dropped, hovers)
