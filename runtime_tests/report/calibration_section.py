"""What the calibration stage recorded, arranged for a reader. Unknown or missing pieces are left out."""

from collections.abc import Mapping
from typing import Any

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


def calibration_view(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Sentence, facts, histograms and classes; None where nothing was recorded."""
    if not summary:
        return None
    return {
        "sentence": _sentence(summary),
        "facts": _facts(summary),
        "histograms": [
            view for name, stored in _mapping(summary.get("histograms")).items() if (view := _histogram(name, stored))
        ],
        "classes": _classes(summary.get("classes")),
    }


def _sentence(summary: Mapping[str, Any]) -> str:
    kept, drawn = summary.get("kept", summary.get("images")), summary.get("drawn")
    generator = summary.get("generator")
    source = f" that {generator} drew" if isinstance(generator, str) else ""
    if not isinstance(kept, int):
        return ""
    if not isinstance(drawn, int):
        return f"{kept:,} images{source} were used."
    reasons = _mapping(summary.get("reasons"))
    fallen = [
        f"{count:,} ({_FILTERS.get(str(name), str(name).replace('_', ' '))})"
        for name, count in reasons.items()
        if name != "kept" and isinstance(count, int) and count
    ]
    lost = f"; the filters dropped {' and '.join(fallen)}" if fallen else ""
    return f"{kept:,} of the {drawn:,} images{source} were kept{lost}."


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings of generator and filters as `name, value`."""
    found: list[tuple[str, str]] = []
    for key in ("generator", "license", "seed"):
        if isinstance(summary.get(key), str | int):
            found.append((key.capitalize(), str(summary[key])))
    for key in ("sampler", "filters"):
        parts = [
            f"{str(name).replace('_', ' ')} {value}"
            for name, value in _mapping(summary.get(key)).items()
            if isinstance(value, str | int | float) and not isinstance(value, bool)
        ]
        if parts:
            found.append((key.capitalize(), ", ".join(parts)))
    for key, title in (
        ("classes_thin", "Filtered less than asked for"),
        ("classes_dry", "Fewer images than asked for"),
    ):
        names = summary.get(key)
        if isinstance(names, list) and names:
            shown = ", ".join(str(name) for name in names[:8])
            found.append((title, shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")))
    return found


def _histogram(name: str, stored: object) -> dict[str, Any] | None:
    """`{low, high, kept, dropped}` -> title, ends, and columns; None for anything else."""
    view = _mapping(stored)
    kept: Any = view.get("kept")
    dropped: Any = view.get("dropped")
    low, high = view.get("low"), view.get("high")
    if not (_counts(kept) and _counts(dropped) and len(kept) == len(dropped)):
        return None
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return None
    width = (high - low) / len(kept)
    title, caption = _SCORES.get(name, (name.replace("_", " ").capitalize(), ""))
    hovers = [
        f"{low + number * width:.2f} to {low + (number + 1) * width:.2f}: {k} kept, {d} dropped"
        for number, (k, d) in enumerate(zip(kept, dropped, strict=True))
    ]
    return {
        "title": title,
        "caption": caption,
        "low": low,
        "high": high,
        "kept": kept,
        "dropped": dropped,
        "hovers": hovers,
    }


def _classes(stored: object) -> list[dict[str, Any]] | None:
    """Kept and drawn by class, or None for too many to show."""
    if not isinstance(stored, list) or not 0 < len(stored) <= _MOST_CLASSES:
        return None
    rows = [
        {"name": str(entry.get("name", entry.get("label"))), "kept": entry["kept"], "drawn": entry["drawn"]}
        for entry in stored
        if isinstance(entry, Mapping) and isinstance(entry.get("kept"), int) and isinstance(entry.get("drawn"), int)
    ]
    return rows or None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _counts(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, int) for value in values)
