"""The report as a summary for a pull request."""

from runtime_tests.report.model import Report
from runtime_tests.report.render.environment import environment
from runtime_tests.report.render.formatting import gate_value, title
from runtime_tests.report.render.key_figures import key_figures


def markdown(report: Report) -> str:
    """Verdict, key figures, gates and the command that builds it again."""
    template = environment(autoescape=False).get_template("summary.md.j2")
    return template.render(report=report, title=title(report), figures=key_figures(report), gate_value=gate_value)
