"""Names of networks that are near to one that no door knows: of every door, whatever stands in front of its names."""

import difflib
from collections.abc import Iterable, Sequence

_NEAR = 0.6  # of the letters
_OF_A_DOOR, _IN_ALL = 2, 4


def near_names(name: str, doors: Iterable[Sequence[str]]) -> list[str]:
    """Return the nearest names, nearest first, not more than two of one door.

    Names are compared without the prefix that says which door is meant and without the tag of their weights, so that
    `swin_t` finds `torchvision:swin_t`; whole names decide between those that are equally near.

    Args:
        name: as the user wrote it.
        doors: the names that each knows.
    """
    found = dict[str, tuple[float, float]]()
    for known in doors:
        by_name = {candidate: _nearness(name, candidate) for candidate in known}
        near = [candidate for candidate in by_name if by_name[candidate][0] >= _NEAR]
        best = sorted(near, key=lambda candidate: by_name[candidate], reverse=True)[:_OF_A_DOOR]
        found |= {candidate: by_name[candidate] for candidate in best}
    return sorted(found, key=lambda candidate: found[candidate], reverse=True)[:_IN_ALL]


def _nearness(name: str, candidate: str) -> tuple[float, float]:
    """Shares of letters in common, of the name alone and of all of it."""
    return _ratio(_alone(name), _alone(candidate)), _ratio(name, candidate)


def _ratio(a: str, b: str) -> float:
    matcher = difflib.SequenceMatcher(None, a.lower(), b.lower())
    return matcher.ratio() if matcher.real_quick_ratio() >= _NEAR and matcher.quick_ratio() >= _NEAR else 0.0


def _alone(name: str) -> str:
    """`torchvision:resnet50.IMAGENET1K_V1` is `resnet50`."""
    return name.rpartition(":")[2].partition(".")[0]
