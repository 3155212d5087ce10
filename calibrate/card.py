"""The dataset card of a calibration set: what a stranger needs to use it, reproduce it and know its licence."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from calibrate.summary import CalibrateSummary
from genq_export.data.calibration_set import METADATA, Row

_TEMPLATES = Path(__file__).parent / "templates"
_PROMPTS_SHOWN = 8


def dataset_card(summary: CalibrateSummary, rows: Sequence[Row]) -> str:
    """Return Markdown with Hugging Face front matter."""
    prompts = sorted({row.prompt for row in rows if row.prompt})[:_PROMPTS_SHOWN]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("dataset_card.md.j2").render(summary=summary, prompts=prompts, metadata=METADATA)
