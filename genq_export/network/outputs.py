"""What a network gives for images: logits alone, or tensors of any rank by name.

A float network, the reference and the integer model give a plain tensor where it is logits, [B, classes], and a
dictionary in every other case. Files and runtimes have names only; there logits are called `logits`.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from genq_export.config.model import MOST_OUTPUTS

if TYPE_CHECKING:
    from torch import Tensor

Answer: TypeAlias = "Tensor | dict[str, Tensor]"

__all__ = ["INPUT", "LOGITS", "MOST_OUTPUTS", "Answer", "as_answer", "by_name", "is_output_name", "output_names"]

LOGITS = "logits"
_MATRIX = 2  # axes
INPUT = "input"  # what the image is called in deployed files
_LONGEST = 100
_OTHER = re.compile(r"[^A-Za-z0-9_.-]+")


def by_name(answer: Answer) -> "dict[str, Tensor]":
    """The tensors of an answer by name."""
    return answer if isinstance(answer, dict) else {LOGITS: answer}


def as_answer(named: "dict[str, Tensor]") -> Answer:
    """The form in which a network gives tensors: an only one [B, numbers] plain, any others by name."""
    only = next(iter(named.values()))
    return only if len(named) == 1 and only.ndim == _MATRIX else named


def is_output_name(name: Any) -> bool:
    """May an output of a deployed file have this name?"""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST and not _OTHER.search(name) and name != INPUT


def output_names(wanted: Mapping[str, Any]) -> list[str]:
    """Names for outputs that are called `wanted`: what a file takes, each once, in order."""
    found: list[str] = []
    for name in wanted:
        plain = _OTHER.sub("_", name).strip("_")[: _LONGEST - 4] or "output"
        free, number = f"{plain}_0" if plain == INPUT else plain, 2
        while free in found:
            free, number = f"{plain}_{number}", number + 1
        found.append(free)
    return found
