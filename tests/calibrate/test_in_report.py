"""What a person sees of a set: histograms in the report, the contact sheet, the dataset card."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from calibrate import run
from calibrate.contact_sheet import DROPPED_SHOWN, KEPT_SHOWN
from calibrate.summary import CalibrateSummary
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.models.loaded import LoadedModel
from runtime_tests.report.calibration_section import calibration_view
from runtime_tests.report.render.charts import stacked_columns

GREEN, RED = (0x1F, 0x8A, 0x5B), (0xC2, 0x45, 0x3D)


@pytest.fixture
def made(tmp_path: Path, make_config: Callable[..., BuildConfig], convnet: LoadedModel) -> tuple[Path, StageResult]:
    result = run.run(Workspace.open(tmp_path / "b"), make_config(images=12), convnet, Progress(quiet=True))
    return tmp_path / "b" / "calibration", result


def test_energy_and_sensitivity_are_histograms_of_kept_and_dropped(made: tuple[Path, StageResult]) -> None:
    folder, result = made
    rows = read_rows(folder)
    view = calibration_view(CalibrateSummary.model_validate(result.summary))
    assert view is not None
    assert [histogram.title for histogram in view.histograms] == ["Energy", "BatchNorm sensitivity"]
    for histogram in view.histograms:
        assert sum(histogram.kept) == sum(row.kept for row in rows) == 12
        assert sum(histogram.dropped) == sum(not row.kept for row in rows) > 0
        drawing = stacked_columns(histogram.kept, histogram.dropped, histogram.hovers, histogram.title)
        columns = list(ElementTree.fromstring(str(drawing)))
        assert len(columns) == 1 + len(histogram.kept), "a title, then a column a bin"


def test_the_contact_sheet_shows_kept_and_dropped_of_every_class(made: tuple[Path, StageResult]) -> None:
    folder, _ = made
    rows = read_rows(folder)
    sheet = Image.open(folder / "contact_sheet.png").convert("RGB")
    frames = [_frames(sheet, colour) for colour in (GREEN, RED)]
    classes = range(3)
    kept = [min(KEPT_SHOWN, sum(row.kept for row in rows if row.label == label)) for label in classes]
    dropped = [min(DROPPED_SHOWN, sum(not row.kept for row in rows if row.label == label)) for label in classes]
    assert frames == [sum(kept), sum(dropped)]


def _frames(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    """Frames of a colour: unbroken horizontal lines of 74 pixels, two a frame."""
    lines = 0
    for y in range(sheet.height):
        row = sheet.crop((0, y, sheet.width, y + 1)).tobytes()
        marks = "".join("x" if row[i : i + 3] == bytes(colour) else "." for i in range(0, len(row), 3))
        lines += len(re.findall("x{74}", marks))
    return lines // 2


def test_the_card_says_what_drew_and_from_what(made: tuple[Path, StageResult]) -> None:
    folder, result = made
    card = (folder / "README.md").read_text()
    prompt = read_rows(folder)[0].prompt
    assert card.startswith("---\nlicense: mit\n") and "`tiny_sd`, licence: mit" in card
    assert "base seed\n0" in card and "column `seed`" in card and "- `a photo of" in card and prompt
    sampler = result.summary["sampler"]
    assert all(f"| {name.replace('_', ' ')} | {value} |" in card for name, value in sampler.items())
