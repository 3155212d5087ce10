"""Releases of ONNX Runtime by what each was the first to take, as measured (docs/target-onnxruntime.md)."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """What a release takes, and all later ones.

    opset, ir_version: the newest. products: in opset 21 a MatMul may give codes; before, its integer kernel is missing.
    four_bit_casts: a Cast may read an INT4 tensor. implicit_zero_points: INT8 weights need none for exact sums.
    """

    version: str
    opset: int
    ir_version: int
    products: bool = False
    four_bit_casts: bool = False
    implicit_zero_points: bool = False


# The oldest is the first with wheels for Python 3.11: what cannot be tried is not promised.
RELEASES = (
    Release("1.15", 19, 9),
    Release("1.17", 20, 9),
    Release("1.18", 21, 10),
    Release("1.20", 22, 10, products=True),
    Release("1.23", 23, 12, products=True, four_bit_casts=True),
    Release("1.30", 23, 12, products=True, four_bit_casts=True, implicit_zero_points=True),
)
# Before it a session with exact sums ends the whole process over INT8 weights without a zero-point.
EXACT_SINCE = next(release.version for release in RELEASES if release.implicit_zero_points)
_VERSION = re.compile(r"1\.\d{1,3}(\.\d{1,3})?")


def checked_version(text: str) -> str:
    """`1.16` or `1.16.3`, as given; raises ValueError for what is no release, or one before the oldest."""
    oldest = RELEASES[0].version
    if not _VERSION.fullmatch(text) or minor(text) < minor(oldest):
        raise ValueError(f"a release of ONNX Runtime from {oldest} on, such as 1.16")
    return text


def minor(version: str) -> int:
    """16 of `1.16.3`"""
    return int(version.split(".")[1])


def release_of(version: str) -> Release:
    """What the release of this version takes."""
    return [release for release in RELEASES if minor(release.version) <= minor(version)][-1]


def first_release(opset: int, ir_version: int, products: bool, four_bit_casts: bool) -> Release | None:
    """The first that takes such a file; None where none of those known here does."""
    for release in RELEASES:
        holds = release.opset >= opset and release.ir_version >= ir_version
        if holds and release.products >= products and release.four_bit_casts >= four_bit_casts:
            return release
    return None
