"""A folder of images with one subfolder a class."""

from pathlib import Path

import numpy as np

from genq_export.core.errors import UserError
from genq_export.data.classifier import Classes
from genq_export.data.decode import list_images, read_image
from genq_export.data.labels import check_labels, class_numbers


def labelled_folder(folder: Path, network: Classes) -> tuple[list[Path], np.ndarray | None]:
    """One subfolder a class: named as the class, by number, or sorted like the classes where all are there."""
    files = list_images(folder)
    unreadable = [path for path in files if not _decodes(path)]
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(files)} images in {folder} cannot be read, the first is {unreadable[0]}:"
            " remove or replace them"
        )
    below = [path.relative_to(folder).parts for path in files]
    names = sorted({parts[0] for parts in below if len(parts) > 1})
    numbers = class_numbers(names, network, folder) if names else {}
    return files, check_labels([numbers[parts[0]] if len(parts) > 1 else None for parts in below], network, folder)


def _decodes(path: Path) -> bool:
    try:
        read_image(path)
    except UserError:
        return False
    return True
