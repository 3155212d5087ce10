"""The report's first screen as a part of somebody else's page: verdict, key figures, conditions, calibration images."""

from pathlib import Path

from runtime_tests.report.model import Report
from runtime_tests.report.render.environment import environment
from runtime_tests.report.render.formatting import gate_value, title
from runtime_tests.report.render.html import contact_sheet
from runtime_tests.report.render.key_figures import key_figures


def first_screen(report: Report, folder: Path) -> str:
    """HTML with styles of its own on its elements and no link, for a notebook; `folder` is the build folder."""
    template = environment(autoescape=True).get_template("first_screen.html")
    return template.render(
        report=report,
        title=title(report),
        figures=key_figures(report),
        gate_value=gate_value,
        sheet=contact_sheet(folder / "calibration" / "contact_sheet.png"),
    )
