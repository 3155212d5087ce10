"""Splits of a data set by their usual names, and which of them suits a use."""

import re
from collections.abc import Sequence

from genq_export.data.raw import Use

_TRAIN = ("train", "training")
_JUDGE = ("test", "testing", "validation", "val", "valid", "eval", "dev")
SPLITS = (*_TRAIN, *_JUDGE)
_IN_A_NAME = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?![a-z])", re.I)


def chosen_split(names: Sequence[str], use: Use) -> str | None:
    """Choose to judge by test, else validation; to calibrate on train, else one of these; None where none is there."""
    order = _JUDGE if use == "eval" else SPLITS
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[word] for word in order if word in by_name), None)


def split_of_file(name: str) -> str | None:
    """The split that a file is called by: `val` for `imagenet-val-0001.tar`."""
    found = _IN_A_NAME.search(name)
    return None if found is None else found[1].lower()
