"""The table of bad inputs by kind. `python -m tests.robustness` runs all of it and prints the counts."""

from tests.robustness.inputs import choices, doors, folders, images, networks, places, settings, truths
from tests.robustness.row import Row

ROWS: tuple[Row, ...] = (
    *settings.ROWS,
    *places.ROWS,
    *folders.ROWS,
    *images.ROWS,
    *networks.ROWS,
    *choices.ROWS,
    *doors.ROWS,
    *truths.ROWS,
)
