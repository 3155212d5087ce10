"""Names and numbers of a data set become classes of the network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genq_export.core.errors import UserError
from genq_export.data.classifier import Classes


def class_numbers(names: Sequence[str], network: Classes, source: Path) -> dict[str, int]:
    """Class of the network by name or number, or by order where as many names are given as the network has classes.

    names: without repetition, in the order of their own numbers. Raises UserError where none of the three holds.
    """
    known = {name: number for number, name in enumerate(network.class_names or ())}
    if all(name in known for name in names):
        return {name: known[name] for name in names}
    if all(name.isdigit() and int(name) < network.classes for name in names):
        return {name: int(name) for name in names}
    if len(names) == network.classes:
        return {name: number for number, name in enumerate(names)}
    raise UserError(
        f"{source} has {len(names)} class folders or class names, the network {network.name} has {network.classes}"
        " classes: name them as the classes or by class number"
    )


def check_labels(labels: Sequence[int | None], network: Classes, source: Path) -> np.ndarray | None:
    """Labels as int64 [N]; None where no image has one. Raises UserError for a gap or for a class there is not."""
    missing = sum(label is None for label in labels)
    if missing == len(labels):
        return None
    if missing:
        raise UserError(f"{missing} of {len(labels)} images in {source} have no label: label all of them, or none")
    found = np.array(labels, dtype=np.int64)
    if found.min() < 0 or found.max() >= network.classes:
        raise UserError(
            f"labels in {source} go from {found.min()} to {found.max()}, the network {network.name} has"
            f" {network.classes} classes: 0 to {network.classes - 1}"
        )
    return found
