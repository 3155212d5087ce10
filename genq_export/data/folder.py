"""A folder of image files: with one subfolder a class, with a table beside them, or without labels."""

from pathlib import Path

from genq_export.core.errors import UserError
from genq_export.data.account import Skipped, listed, shown
from genq_export.data.decode import image_suffixes
from genq_export.data.labels import LabelColumn
from genq_export.data.raw import LISTING, Raw, Reading
from genq_export.data.table import TABLE_SUFFIXES, Table, images_of, read_table
from genq_export.data.walk import NOT_AN_IMAGE, Walk, walk

_MOST_EMPTY = 5


def read_folder(folder: Path, reading: Reading) -> Raw:
    """Images of a folder and all that may be their labels.

    Raises:
        UserError: where there is no image, or two tables name labels.
    """
    walked = walk(folder)
    if not walked.images:
        raise UserError(_no_images(walked))
    table = _table(walked, reading)
    if table is None:
        images, columns, left = list(walked.images), list[LabelColumn](), list[Skipped]()
    else:
        images, columns, left = images_of(table, walked)
    folders = None if reading.label_column is not None else _folder_column(walked, images)
    used = {folder / LISTING, *(() if table is None else (table.path,))}
    skipped = [*walked.skipped, *left, *(_left_over(walked, path) for path in walked.others if path not in used)]
    tops = walked.top_folders()
    return Raw(
        source=folder,
        layout=_layout(table, folders),
        images=images,
        columns=(*columns, *(() if folders is None else (folders,))),
        skipped=tuple(skipped),
        notes=tuple(_notes(walked, table, folders)),
        inside=folder / tops[0] if len(tops) == 1 else None,
    )


def _no_images(walked: Walk) -> str:
    found = sorted({item.reason for item in walked.skipped} - {NOT_AN_IMAGE})
    if any(suffix in found for suffix in (".heic", ".heif")):
        return f"no images in {walked.root} but HEIC, which is read with pip install 'genq-export[heic]'"
    beside = f", and there is {', '.join(found)}" if found else ""
    return f"no images in {walked.root} (looked for {', '.join(image_suffixes())} in it and below{beside})"


def _table(walked: Walk, reading: Reading) -> Table | None:
    """The one table at the top that names image files."""
    paths = [path for path in walked.others if path.parent == walked.root and path.suffix.lower() in TABLE_SUFFIXES]
    found = [table for path in paths if (table := read_table(path, reading)) is not None]
    with_labels = [table for table in found if table.labels]
    if len(with_labels) > 1 or (len(found) > 1 and not with_labels):
        names = " and ".join(table.path.name for table in with_labels or found)
        raise UserError(f"{walked.root} has several tables of images ({names}): leave the one that counts")
    return next(iter(with_labels or found), None)


def _folder_column(walked: Walk, images: list[Path]) -> LabelColumn | None:
    """The folder right below the root that each image lies in; None where all lie in the root itself."""
    below = [path.relative_to(walked.root).parts for path in images]
    values = tuple(shown(parts[0]) if len(parts) > 1 else None for parts in below)
    if not any(value is not None for value in values):
        return None
    holding = {value for value in values if value is not None}
    empty = {name for name in _empty_folders(walked, holding) if name.isdecimal()}  # a set of numbers may be whole
    return LabelColumn("by folder", values, tuple(sorted(holding | empty)))


def _empty_folders(walked: Walk, holding: set[str]) -> list[str]:
    """Folders at the top that look like a class of which nothing is taken: not those of tables or texts alone."""
    others = {shown(path.relative_to(walked.root).parts[0]) for path in walked.others}
    missed = {item.name.partition("/")[0] for item in walked.skipped if item.reason.startswith(".")}
    return [name for name in map(shown, walked.top_folders()) if name not in holding | (others - missed)]


def _layout(table: Table | None, folders: LabelColumn | None) -> str:
    if table is not None and table.labels:
        return f"a folder of images with the table {table.path.name}"
    if folders is not None:
        return "a folder with one subfolder a class"
    return "a folder of images"


def _notes(walked: Walk, table: Table | None, folders: LabelColumn | None) -> list[str]:
    notes = []
    if table is not None and not table.labels:
        beside = "the folders are the labels" if folders is not None else "it names no labels"
        notes.append(f"{table.path.name} has no label column: {beside}")
    if folders is not None:
        empty = _empty_folders(walked, {value for value in folders.values if value is not None})
        if empty:
            said = ", ".join(f"{listed([name])} ({_why(walked, name)})" for name in empty[:_MOST_EMPTY])
            more = f" and {len(empty) - _MOST_EMPTY} more" if len(empty) > _MOST_EMPTY else ""
            notes.append(f"nothing was taken of the class folder{'s' * (len(empty) > 1)} {said}{more}")
    heic = sum(item.reason in (".heic", ".heif") for item in walked.skipped)
    if heic:
        notes.append(f"{heic} HEIC files were skipped: pip install 'genq-export[heic]' reads them")
    return notes


def _why(walked: Walk, name: str) -> str:
    reasons = sorted({item.reason for item in walked.skipped if item.name == name or item.name.startswith(f"{name}/")})
    return ", ".join(reasons) if reasons else "empty"


def _left_over(walked: Walk, path: Path) -> Skipped:
    return Skipped(shown(path.relative_to(walked.root)), NOT_AN_IMAGE)
