"""The report as one HTML page that needs nothing but itself."""

import base64
import io
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from genq_export.runtimes import runtime_titles
from genq_export.targets import title_of
from genq_export.tasks.task import task_of
from runtime_tests.report.calibration_section import calibration_view
from runtime_tests.report.model import Report
from runtime_tests.report.render import charts, views
from runtime_tests.report.render.environment import environment
from runtime_tests.report.render.formatting import (
    MINUS,
    byte_size,
    chance,
    gate_value,
    milliseconds,
    percent,
    signed,
    title,
)
from runtime_tests.report.render.network_picture import picture
from runtime_tests.verify import gates
from runtime_tests.verify.results import UNQUANTIZED
from runtime_tests.verify.task_answers import shown_figure
from runtime_tests.verify.verify_file import ANSWERS_FILE

SHEET_BYTES = 1_200_000
_SHEET_PIXELS = 1600


def render_html(report: Report, folder: Path) -> str:
    """The page. `folder` is the build folder, for the contact sheet; a missing or damaged sheet is left out."""
    template, task = _environment().get_template("report.html"), task_of(report.run.task)
    return template.render(
        report=report,
        run=report.run,
        title=title(report),
        target=title_of(report.target),
        titles=runtime_titles() | {item.name: item.title for item in report.run.backends if item.status == "ok"},
        names=runtime_titles(),
        style=Markup(files("runtime_tests.report").joinpath("templates/report.css").read_text()),
        figures=views.figures(report),
        loss=gates.accuracy_loss(report.run),
        accuracy=views.accuracy_chart(report),
        classes=views.class_chart(report),
        speeds=views.latency_settings(report.latency),
        fidelity=gates.deployed_fidelity(report.run),
        figures_of_task=[item for item in report.run.answers if item.backend != UNQUANTIZED and not task.has_logits],
        against_labels=report.run.against_labels,
        task_title=task.title,
        cost_measure=task.cost_measure,
        layers=views.layer_chart(report),
        network=picture(views.network_steps(report)),
        costs=views.cost_chart(report.sensitivity),
        floating=[layer for layer in report.layers if layer.integer is False],
        answers=contact_sheet(folder / ANSWERS_FILE),
        sheet=contact_sheet(folder / "calibration" / "contact_sheet.png"),
        data=calibration_view(report.calibration),
        bits=views.widths(report),
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
        "shown_figure": shown_figure,
        "chance": chance,
        # On a phone a figure stays with its unit, and a date in one piece.
        "unbroken": lambda text: str(text).replace(" ", "\u00a0").replace("-", "\u2011"),
        "true_minus": lambda text: str(text).replace("-", MINUS),
    }
    found.globals |= {"charts": charts, "gate_value": gate_value, "signed": signed, "tone": _tone}
    return found


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
