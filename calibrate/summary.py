"""What the report and the dataset card say about a set, as plain numbers and lists."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from calibrate.collect import Collection
from calibrate.dataset import Row
from calibrate.pool import ImageSource
from calibrate.prompts import UNLABELLED
from calibrate.scoring import distribution_score_name
from calibrate.selection import planned
from calibrate.sources.open import drawn_classes, filters
from genq_export.config.build import BuildConfig
from genq_export.models.loaded import LoadedModel

BINS = 40


def summarise(
    config: BuildConfig,
    model: LoadedModel,
    source: ImageSource,
    quota: Sequence[int],
    collection: Collection,
    rows: Sequence[Row],
) -> dict[str, Any]:
    """Facts of a finished set.

    quota: images that were to be drawn of each class. `classes_thin` were filtered less than asked for want of usable
    images, `classes_dry` have fewer images than asked for.
    """
    settings = filters(config)
    drawn = Counter(row.label for row in rows)
    kept = Counter(row.label for row in rows if row.kept)
    own = Counter(row.label for row in rows if row.kept and row.seed is not None)
    names = drawn_classes(config, model)
    labels: list[int | None] = [None] if names == UNLABELLED else list(range(len(names)))
    distribution = distribution_score_name(model)
    return {
        "model": model.name,
        "generator": source.name,
        "license": source.license,
        "seed": config.seed,
        "sampler": source.settings,
        "kept": sum(kept.values()),
        "drawn": len(collection.images),
        "real": len(rows) - len(collection.images),
        "images_per_second": collection.images_per_second,
        "reasons": dict(Counter(row.reason for row in rows).most_common()),
        "classes": [
            {"label": label, "name": name, "kept": kept[label], "drawn": drawn[label]}
            for label, name in zip(labels, names, strict=True)
        ],
        "classes_thin": [
            names[label] for label, share in enumerate(quota) if collection.usable[label] < planned(share, settings)
        ],
        "classes_dry": [name for label, name, share in zip(labels, names, quota, strict=True) if own[label] < share],
        "filters": {
            "energy_keep": settings.energy_keep,
            "energy_temperature": settings.energy_temperature,
            "energy_max": settings.energy_max,
            "distribution_score_name": distribution,
            "distribution_keep": settings.distribution_keep if distribution else None,
            "pool_limit": settings.pool_limit,
        },
        "histograms": {name: kept_and_dropped(rows, name) for name in ("energy", distribution) if name is not None},
    }


def kept_and_dropped(rows: Sequence[Row], field: str) -> dict[str, Any]:
    """Histograms of a score, of kept and of dropped images over the same bins."""
    values = [(getattr(row, field), row.kept) for row in rows if getattr(row, field) is not None]
    low, high = min(value for value, _ in values), max(value for value, _ in values)
    return {
        "low": low,
        "high": high,
        "kept": histogram((value for value, kept in values if kept), low, high),
        "dropped": histogram((value for value, kept in values if not kept), low, high),
    }


def histogram(values: Iterable[float], low: float, high: float, bins: int = BINS) -> list[int]:
    """Counts in `bins` equal steps from `low` to `high`; what lies outside counts in the outer bins."""
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int((value - low) / width)))] += 1
    return counts
