"""The report as one HTML page that needs nothing but itself."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from runtime_tests.report.calibration_section import calibration_view
from runtime_tests.report.model import Report
from runtime_tests.report.render import charts
from runtime_tests.report.render.environment import environment
from runtime_tests.report.render.formatting import (
    DASH,
    MINUS,
    TIMES,
    byte_size,
    chance,
    gate_value,
    milliseconds,
    percent,
    signed,
    title,
)
from runtime_tests.verify import gates
from runtime_tests.verify.results import Latency, Size
from runtime_tests.verify.titles import BACKEND_TITLES, TARGET_TITLES

SHEET_BYTES = 1_200_000
_SHEET_PIXELS = 1600
_MOST_LAYERS = 120
_MOST_COSTS = 30


def render_html(report: Report, folder: Path) -> str:
    """The page. `folder` is the build folder, for the contact sheet; a missing or damaged sheet is left out."""
    template = _environment().get_template("report.html")
    return template.render(
        report=report,
        run=report.run,
        title=title(report),
        target=TARGET_TITLES.get(report.target, report.target),
        titles=BACKEND_TITLES | {item.name: item.title for item in report.run.backends if item.status == "ok"},
        names=BACKEND_TITLES,
        style=Markup(files("runtime_tests.report").joinpath("templates/report.css").read_text()),
        figures=_figures(report),
        loss=gates.accuracy_loss(report.run),
        accuracy=_accuracy(report),
        classes=_classes(report),
        speeds=_speeds(report),
        fidelity=gates.deployed_fidelity(report.run),
        layers=_layer_rows(report),
        costs=_cost_rows(report),
        floating=[layer for layer in report.layers if layer.integer is False],
        sheet=contact_sheet(folder / "calibration" / "contact_sheet.png"),
        data=calibration_view(report.calibration),
        bits=_bits(report),
        versions=_versions(report),
        hashes=_hashes(report),
    )


def _environment() -> Environment:
    found = environment(autoescape=True)
    found.filters |= {
        "percent": percent,
        "ms": milliseconds,
        "bytes": byte_size,
        "thousands": "{:,}".format,
        "chance": chance,
        # On a phone a figure stays with its unit, and a date in one piece.
        "unbroken": lambda text: str(text).replace(" ", "\u00a0").replace("-", "\u2011"),
        "true_minus": lambda text: str(text).replace("-", MINUS),
    }
    found.globals |= {"charts": charts, "gate_value": gate_value, "signed": signed, "tone": _tone}
    return found


@dataclass(frozen=True)
class Figure:
    """One of the large figures at the top of the page."""

    value: str
    unit: str
    label: str
    context: str


def _figures(report: Report) -> list[Figure]:
    """The figures at the top of the page, four where sizes are known."""
    return [_cost_figure(report), _speed_figure(report.latency), *_size_figure(report.size), _agreement_figure(report)]


def _cost_figure(report: Report) -> Figure:
    run = report.run
    loss = gates.accuracy_loss(run)
    if loss is None:
        share = report.agreement.get(f"{run.deployed}_vs_float")
        return Figure(*_split(share), "same class as float", "no labels: not accuracy")
    context = f"{percent(report.accuracy[run.deployed].top1)} against {percent(report.accuracy['float'].top1)}"
    return Figure(f"{-loss:+.2f}".replace("-", MINUS), "points", "top-1 accuracy", context)


def _speed_figure(latency: Latency | None) -> Figure:
    if latency is None:
        return Figure(DASH, "", "speed", "not measured on the target")
    context = f"{milliseconds(latency.deployed_ms)} against {milliseconds(latency.float_ms)}"
    if not latency.significant:
        return Figure("none", "", "speed-up", f"{context}, within the noise")
    return Figure(f"{latency.speedup:.2f}", TIMES, "speed", context)


def _size_figure(size: Size | None) -> Iterator[Figure]:
    if size is not None:
        context = f"{byte_size(size.deployed_bytes)} against {byte_size(size.float_bytes)}"
        yield Figure(f"{size.float_bytes / size.deployed_bytes:.1f}", TIMES, "smaller", context)


def _agreement_figure(report: Report) -> Figure:
    agreement = gates.deployed_agreement(report.run)
    context = "deployed file against reference" if agreement is not None else "not measured"
    return Figure(*_split(agreement), "agreement", context)


def _split(share: float | None) -> tuple[str, str]:
    """A share as value and unit."""
    return (percent(share).removesuffix(" %"), "%") if share is not None else (DASH, "")


def _accuracy(report: Report) -> dict[str, Any] | None:
    """Rows of the accuracy chart and the ends of its axis, whole points wide."""
    if not report.accuracy:
        return None
    low = min(score.low for score in report.accuracy.values())
    high = max(score.high for score in report.accuracy.values())
    first, last = max(0.0, int(100 * low) / 100), min(1.0, (int(100 * high) + 1) / 100)
    return {"first": first, "last": last, "rows": list(report.accuracy.items())}


def _classes(report: Report, most: int = 30) -> dict[str, Any] | None:
    """Change of correct images by class, worst first: all classes, or the worst where there are many."""
    run = report.run
    if run.evaluation is None or run.evaluation.class_names is None or run.evaluation.class_counts is None:
        return None
    before, after = report.accuracy.get("float"), report.accuracy.get(run.deployed)
    if before is None or after is None or before.correct_by_class is None or after.correct_by_class is None:
        return None
    rows: list[dict[str, Any]] = []
    names, counts = run.evaluation.class_names, run.evaluation.class_counts
    for name, count, b, a in zip(names, counts, before.correct_by_class, after.correct_by_class, strict=True):
        if count:
            rows.append({"name": name, "n": count, "before": b / count, "after": a / count, "change": (a - b) / count})
    rows.sort(key=lambda row: (row["change"], row["name"]))
    span = max((abs(row["change"]) for row in rows), default=0.0) or 0.01
    return {"rows": rows[:most], "left_out": max(0, len(rows) - most), "span": span}


def _speeds(report: Report) -> list[dict[str, Any]]:
    """Settings of the latency table, each with its float and deployed rows and the length of their bars."""
    if report.latency is None:
        return []
    settings: dict[tuple[int, int], list[Any]] = {}
    for row in report.latency.rows:
        if row.variant != "deployed again":
            settings.setdefault((row.threads, row.batch), []).append(row)
    found = []
    for (threads, batch), rows in settings.items():
        slowest = max(row.median_ms for row in rows)
        fastest_float = min((row.median_ms for row in rows if row.variant == "float"), default=None)
        found.append(
            {"threads": threads, "batch": batch, "rows": rows, "slowest": slowest, "fastest_float": fastest_float}
        )
    return found


def _layer_rows(report: Report) -> dict[str, Any] | None:
    """Activation quantizers in execution order with bars of their SQNR; `own` is what the quantizer alone adds."""
    layers = report.run.layers
    if not layers:
        return None
    measured = [layer.sqnr_db for layer in layers if layer.sqnr_db is not None]
    top = max(measured, default=1.0) or 1.0
    weakest = sorted((layer for layer in layers if layer.sqnr_db is not None), key=lambda layer: layer.sqnr_db or 0.0)
    fidelity = gates.deployed_fidelity(report.run)
    differing = {item.name: item.differing for item in fidelity.quantizers} if fidelity is not None else {}
    shown: Sequence[Any] = layers
    if len(layers) > _MOST_LAYERS:
        chosen = {layer.name for layer in weakest[:_MOST_LAYERS]}
        shown = [layer for layer in layers if layer.name in chosen]
    return {
        "rows": shown,
        "top": max(top, 1.0),
        "weakest": weakest[:3],
        "differing": differing,
        "left_out": len(layers) - len(shown),
        "weights": sorted(
            (item for item in report.run.weights if item.sqnr_db is not None), key=lambda item: item.sqnr_db or 0.0
        )[:5],
    }


def _cost_rows(report: Report) -> dict[str, Any] | None:
    """Layers by what quantizing each alone costs, most expensive first, with the share of the whole."""
    if not report.sensitivity:
        return None
    total = sum(row.kl for row in report.sensitivity)
    return {
        "rows": report.sensitivity[:_MOST_COSTS],
        "top": report.sensitivity[0].kl or 1.0,
        "total": total or 1.0,
        "left_out": max(0, len(report.sensitivity) - _MOST_COSTS),
    }


def _bits(report: Report) -> list[dict[str, str]]:
    """Grid, storage and compute bits: three different things."""
    w, a, edge = report.bits.weights, report.bits.activations, report.bits.first_last
    containers = report.storage.storage
    weights = (containers.weights if containers is not None else "int8").upper()
    activations = (containers.activations if containers is not None else "int8").upper()
    return [
        {"what": "Weights", "grid": f"{w} bits, per channel", "storage": weights, "compute": "INT8"},
        {"what": "Activations", "grid": f"{a} bits, per tensor", "storage": activations, "compute": activations},
        {"what": "First and last layer", "grid": f"{edge} bits", "storage": "INT8", "compute": "INT8"},
        {"what": "Sums", "grid": DASH, "storage": DASH, "compute": "INT32"},
    ]


def contact_sheet(path: Path) -> Markup | None:
    """The sheet as a data URL, recompressed where it is large; None where it is missing or cannot be read."""
    try:
        content, kind = path.read_bytes(), "png"
        with Image.open(path) as image:
            image.load()
            if len(content) > SHEET_BYTES:
                small = image.convert("RGB")
                small.thumbnail((_SHEET_PIXELS, _SHEET_PIXELS))
                out = io.BytesIO()
                small.save(out, "JPEG", quality=80)
                content, kind = out.getvalue(), "jpeg"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def _versions(report: Report) -> list[tuple[str, str]]:
    return sorted(report.run.versions.items())


def _hashes(report: Report) -> list[tuple[str, str]]:
    found = {name: digest for stage in report.stages for name, digest in stage.outputs.items()}
    found.update(report.run.artefacts)
    return sorted((name, digest) for name, digest in found.items() if name != "verify.json")


def _tone(name: str) -> str:
    """Colour class of a backend."""
    return {"float": "tone-float", "reference": "tone-reference", "oracle": "tone-reference"}.get(name, "tone-deployed")
