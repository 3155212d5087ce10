"""What lies in a source before its labels mean anything, and what the reader is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from genq_export.config.verify import VerifyConfig
from genq_export.data.account import Skipped
from genq_export.data.class_names import ClassNames
from genq_export.data.labels import LabelColumn
from genq_export.data.pictures import Pictures

Use = Literal["eval", "real", "calibration"]

LISTING = "classes.txt"  # beside images: what their labels stand for
# Columns of a table, or fields of a JSON label, that are labels by their name.
LABEL_COLUMNS = (
    "label", "labels", "class", "cls", "class_name", "classname", "class_id", "category", "target", "label_name",
    "label_id", "synset", "wnid", "fine_label",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How a source is to be read.

    use: what for; it decides which split is taken. labels: `index0` or `index1`, from where numbers count; None: by
    name. label_column, image_column: which of several.
    """

    use: Use = "eval"
    labels: Literal["index0", "index1"] | None = None
    label_column: str | None = None
    image_column: str | None = None

    @classmethod
    def of(cls, settings: VerifyConfig, use: Use) -> Self:
        """What a config says."""
        return cls(use, settings.labels, settings.label_column, settings.image_column)


@dataclass(frozen=True)
class Raw:
    """Images and all that may be their labels.

    layout: what the source was read as. columns: in the order in which they are tried. listing: `classes.txt`, what
    each number or name stands for; None without one. inside: a folder to read in the place of the source where its
    labels fit nothing.
    """

    source: Path
    layout: str
    images: Sequence[Path] | Pictures
    columns: tuple[LabelColumn, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    listing: ClassNames | None = None
    inside: Path | None = None
