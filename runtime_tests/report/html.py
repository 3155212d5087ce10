"""The report as one HTML page that needs nothing but itself."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from genq_export.runtimes import runtime_titles
from genq_export.targets import title_of
from runtime_tests.report import charts
from runtime_tests.report.assemble import Report
from runtime_tests.report.calibration_section import calibration_view
from runtime_tests.report.text import (
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

SHEET_BYTES = 1_200_000
_SHEET_PIXELS = 1600
_MOST_LAYERS = 120
_MOST_COSTS = 30


def render_html(report: Report, folder: Path) -> str:
    """The page. `folder` is the build folder, for the contact sheet; a missing or damaged sheet is left out."""
    environment = Environment(
        loader=PackageLoader("runtime_tests.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "ms": milliseconds,
        "bytes": byte_size,
        "thousands": "{:,}".format,
        "chance": chance,
        # On a phone a figure stays with its unit, and a date in one piece.
        "unbroken": lambda text: str(text).replace(" ", "\u00a0").replace("-", "\u2011"),
        "true_minus": lambda text: str(text).replace("-", MINUS),
    }
    environment.globals |= {"charts": charts, "gate_value": gate_value, "signed": signed, "tone": _tone}
    return environment.get_template("report.html").render(
        report=report,
        run=report.run,
        title=title(report),
        target=title_of(report.target),
        titles=runtime_titles() | {item.name: item.title for item in report.run.backends if item.status == "ok"},
        names=runtime_titles(),
        style=Markup(Path(__file__).with_name("templates").joinpath("report.css").read_text()),
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


def _figures(report: Report) -> list[dict[str, str]]:
    """The four figures at the top of the page."""
    run, latency, size = report.run, report.latency, report.size
    loss, agreement = gates.accuracy_loss(run), gates.deployed_agreement(run)
    figures = []
    if loss is not None:
        context = f"{percent(report.accuracy[run.deployed].top1)} against {percent(report.accuracy['float'].top1)}"
        figures.append(
            {
                "value": f"{-loss:+.2f}".replace("-", MINUS),
                "unit": "points",
                "label": "top-1 accuracy",
                "context": context,
            }
        )
    else:
        share = report.agreement.get(f"{run.deployed}_vs_float")
        value, unit = _split(percent(share)) if share is not None else (DASH, "")
        figures.append(
            {"value": value, "unit": unit, "label": "same class as float", "context": "no labels: not accuracy"}
        )
    if latency is not None:
        context = f"{milliseconds(latency.deployed_ms)} against {milliseconds(latency.float_ms)}"
        faster = {"value": f"{latency.speedup:.2f}", "unit": TIMES, "label": "speed", "context": context}
        none = {"value": "none", "unit": "", "label": "speed-up", "context": f"{context}, within the noise"}
        figures.append(faster if latency.significant else none)
    else:
        figures.append({"value": DASH, "unit": "", "label": "speed", "context": "not measured on the target"})
    if size is not None:
        context = f"{byte_size(size.deployed_bytes)} against {byte_size(size.float_bytes)}"
        figures.append(
            {
                "value": f"{size.float_bytes / size.deployed_bytes:.1f}",
                "unit": TIMES,
                "label": "smaller",
                "context": context,
            }
        )
    value, unit = _split(percent(agreement)) if agreement is not None else (DASH, "")
    context = "deployed file against reference" if agreement is not None else "not measured"
    figures.append({"value": value, "unit": unit, "label": "agreement", "context": context})
    return figures


def _split(shown: str) -> tuple[str, str]:
    return shown.removesuffix(" %"), "%"


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
    stored = report.storage.get("storage")
    stored = stored if isinstance(stored, Mapping) else {}
    weights = str(stored.get("weights", "INT8")).upper().removesuffix(" (8-BIT LAYERS INT8)")
    activations = str(stored.get("activations", "INT8")).upper()
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
