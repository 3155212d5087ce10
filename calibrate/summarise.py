"""From a finished set to its summary."""

from collections import Counter
from collections.abc import Iterable, Sequence

from calibrate.collect import Collection
from calibrate.prompts import UNLABELLED
from calibrate.selection import SelectionRules, planned
from calibrate.sources.source import ImageSource
from calibrate.summary import CalibrateSummary, ClassCount, Histogram, Setting
from genq_export.config.build import BuildConfig
from genq_export.data.calibration_set import Row
from genq_export.models.loaded import LoadedModel

BINS = 40


def summarise(
    config: BuildConfig,
    model: LoadedModel,
    source: ImageSource,
    names: Sequence[str],
    quota: Sequence[int],
    rules: SelectionRules,
    collection: Collection,
    rows: Sequence[Row],
) -> CalibrateSummary:
    """Count what became of every image.

    Args:
        config: the build.
        model: the network that scored.
        source: what drew the images.
        names: of the classes that were drawn.
        quota: images that were to be drawn of each class.
        rules: how the pool was filtered.
        collection: the pool.
        rows: of the whole set, with the reference images that joined.
    """
    drawn = Counter(row.label for row in rows)
    kept = Counter(row.label for row in rows if row.kept)
    own = Counter(row.label for row in rows if row.kept and row.seed is not None)
    labels: list[int | None] = [None] if names == UNLABELLED else list(range(len(names)))
    thin = [label for label, share in enumerate(quota) if collection.usable[label] < planned(share, rules)]
    return CalibrateSummary(
        model=model.name,
        generator=source.name,
        license=source.license,
        seed=config.seed,
        sampler=source.settings,
        kept=sum(kept.values()),
        drawn=len(collection.images),
        real=len(rows) - len(collection.images),
        images_per_second=collection.images_per_second,
        reasons=dict(Counter(row.reason for row in rows).most_common()),
        classes=tuple(
            ClassCount(label=label, name=name, kept=kept[label], drawn=drawn[label])
            for label, name in zip(labels, names, strict=True)
        ),
        classes_thin=tuple(names[label] for label in thin),
        classes_dry=tuple(name for label, name, share in zip(labels, names, quota, strict=True) if own[label] < share),
        filters=_filter_settings(config, rules),
        histograms={
            rule.filter.name: histogram
            for rule in rules.filters
            if (histogram := kept_and_dropped(rows, rule.filter.name)) is not None
        },
    )


def kept_and_dropped(rows: Sequence[Row], name: str) -> Histogram | None:
    """Histograms of a score, of kept and of dropped images over the same bins; None where no image has that score."""
    values = [(row.scores[name], row.kept) for row in rows if name in row.scores]
    if not values:
        return None
    low, high = min(value for value, _ in values), max(value for value, _ in values)
    return Histogram(
        low=low,
        high=high,
        kept=histogram((value for value, kept in values if kept), low, high),
        dropped=histogram((value for value, kept in values if not kept), low, high),
    )


def histogram(values: Iterable[float], low: float, high: float, bins: int = BINS) -> tuple[int, ...]:
    """Counts in `bins` equal steps from `low` to `high`; what lies outside counts in the outer bins."""
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int((value - low) / width)))] += 1
    return tuple(counts)


def _filter_settings(config: BuildConfig, rules: SelectionRules) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for rule in rules.filters:
        found |= rule.facts(config.calibrate)
    return {**found, "pool_limit": rules.pool_limit}
